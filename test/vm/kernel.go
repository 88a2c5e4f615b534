// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// emulator is the program that is a virtual machine.
const emulator = "qemu-system-x86_64"

// Kernel is a Linux kernel of Debian's and the modules that tests need.
type Kernel struct {
	Image       string   // path of vmlinuz
	Early, Late []string // paths of modules, as in wire.Orders
}

// What Debian's kernel has as modules and a guest needs to see the host's files.
var earlyModules = []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}

// What a node of a cluster has loaded when pods are connected: nothing loads
// modules on demand in the guest.
var lateModules = []string{
	"8021q", "act_bpf", "act_gact", "act_mirred", "act_vlan", "af_packet_diag", "bridge",
	"cls_bpf", "cls_flower", "cls_matchall", "cls_u32", "dummy", "inet_diag", "ip6_tables", "ip_tables",
	"macvlan", "sch_fq", "sch_htb", "sch_ingress", "sch_netem", "sch_prio", "sch_tbf",
	"tap", "tcp_diag", "tun", "udp_diag", "unix_diag", "veth", "vxlan", "wireguard",
}

// FindKernel finds what fetch-kernel.sh unpacked.
func FindKernel() (*Kernel, error) {
	if runtime.GOARCH != "amd64" {
		return nil, errors.New("virtual machines are for amd64 only")
	}
	if _, err := exec.LookPath(emulator); err != nil {
		return nil, fmt.Errorf("no %s; run make deps", emulator)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	complete, _ := filepath.Glob(filepath.Join(cache, "nsm-forwarder-vm", "*", "complete"))
	if len(complete) == 0 {
		return nil, errors.New("no kernel of Debian's to boot; run make deps")
	}
	dir := filepath.Dir(complete[len(complete)-1])
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) == 0 {
		return nil, fmt.Errorf("no vmlinuz in %s/boot; remove the folder and run make deps", dir)
	}
	k := &Kernel{Image: images[0]}
	all, err := findModules(filepath.Join(dir, "lib"))
	if err != nil {
		return nil, err
	}
	if k.Early, err = all.load(earlyModules...); err != nil {
		return nil, err
	}
	k.Late, err = all.load(lateModules...)
	return k, err
}

// Hardware tells whether the machine's processor runs guests itself (KVM on
// VMX or SVM). If not, QEMU translates the guest's code (TCG), which is slower by
// a factor of ten and more. /dev/kvm alone says too little: where it is made by
// software (PVM), an ordinary kernel's code is interpreted, and does not get
// anywhere.
func Hardware() bool {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = kvm.Close()
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(cpus) {
		if flags, ok := bytes.CutPrefix(line, []byte("flags")); ok {
			for flag := range bytes.FieldsSeq(flags) {
				if string(flag) == "vmx" || string(flag) == "svm" {
					return true
				}
			}
			return false
		}
	}
	return false
}
