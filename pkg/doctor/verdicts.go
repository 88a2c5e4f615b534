// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	tunnelmtu "github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/embedded"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// checks are all of them, in the order in which one would repair a node.
var checks = []struct {
	name    string
	verdict func(*facts) Check
}{
	{"kernel", kernel},
	{"capabilities", capabilities},
	{"BPF", bpf},
	{"XDP", xdp},
	{"AF_XDP", afxdp},
	{"multi-buffer", multiBuffer},
	{"uplink", uplinkFound},
	{"XDP on the uplink", uplinkXDP},
	{"other XDP program", otherProgram},
	{"zero copy", zeroCopy},
	{"queues", queues},
	{"MTU", mtu},
	{"VLAN tags", vlanTags},
	{"locked memory", lockedMemory},
	{"BPF file system", bpfFileSystem},
	{"huge pages", hugePages},
	{"TAP devices", tap},
	{"pod namespaces", namespaces},
	{"VXLAN device", vxlanDevice},
	{"WireGuard device", wireguardDevice},
	{"VLAN device", vlanDevice},
}

func found(s Status, format string, args ...any) Check {
	return Check{Status: s, Found: fmt.Sprintf(format, args...)}
}

func (c Check) advise(format string, args ...any) Check {
	c.Advice = fmt.Sprintf(format, args...)
	return c
}

// Kernels by what came with them: links for XDP (5.9), which the classifier is
// pinned by; BPF memory that is not charged to RLIMIT_MEMLOCK (5.11).
const (
	oldest       = 5<<8 | 9
	noBPFMemlock = 5<<8 | 11
)

// version is major<<8|minor, 0 if it cannot be read.
func version(release string) int {
	major, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(rest[:end])
	if errA != nil || errB != nil {
		return 0
	}
	return a<<8 | b
}

func kernel(f *facts) Check {
	switch v := version(f.release); {
	case v == 0:
		return found(Skip, "release %q cannot be read", f.release)
	case v < oldest:
		return found(Fail, "Linux %s", f.release).advise("the classifier needs Linux 5.9 or later (BPF links for XDP); use NSM_FORWARDING_PLANE=kernel")
	}
	return found(OK, "Linux %s", f.release)
}

type capability struct {
	bit  uint
	name string
	why  string
	// must: nothing works without.
	must bool
}

var needed = []capability{
	{unix.CAP_NET_ADMIN, "NET_ADMIN", "to make interfaces and attach XDP programs", true},
	{unix.CAP_NET_RAW, "NET_RAW", "to open AF_XDP sockets", true},
	{unix.CAP_SYS_ADMIN, "SYS_ADMIN", "to enter the namespaces of pods", true},
	{unix.CAP_BPF, "BPF", "to load the classifier", true},
	{unix.CAP_PERFMON, "PERFMON", "to let the classifier use pointers freely", false},
	{unix.CAP_IPC_LOCK, "IPC_LOCK", "to have packet memory beyond RLIMIT_MEMLOCK", false},
	{unix.CAP_SYS_PTRACE, "SYS_PTRACE", "to find the namespaces of pods by their processes", false},
	{unix.CAP_DAC_OVERRIDE, "DAC_OVERRIDE", "to use sockets and state files of other users", false},
}

func (f *facts) has(bit uint) bool {
	// SYS_ADMIN is what BPF and PERFMON were before Linux 5.8, and stands for
	// both ever since.
	if (bit == unix.CAP_BPF || bit == unix.CAP_PERFMON) && f.effective&(1<<unix.CAP_SYS_ADMIN) != 0 {
		return true
	}
	return f.effective&(1<<bit) != 0
}

func capabilities(f *facts) Check {
	if f.effErr != nil {
		return found(Skip, "%v", f.effErr)
	}
	status := OK
	var missing, reasons []string
	for _, c := range needed {
		if f.has(c.bit) {
			continue
		}
		missing = append(missing, c.name)
		reasons = append(reasons, c.name+" "+c.why)
		if c.must {
			status = Fail
		} else if status == OK {
			status = Warn
		}
	}
	if status == OK {
		return found(OK, "all %d that are used", len(needed))
	}
	return found(status, "missing: %s", strings.Join(missing, ", ")).
		advise("add to the container's securityContext.capabilities: %s", strings.Join(reasons, "; "))
}

// tried turns the outcome of an experiment into a check.
func (f *facts) tried(err error, good, advice string) Check {
	switch {
	case err == nil:
		return found(OK, "%s", good)
	case f.lab.err != nil:
		return found(Skip, "could not be tried: %v", f.lab.err)
	case errors.Is(err, errNotTried):
		return found(Skip, "could not be tried without what failed before")
	case forbidden(err):
		return found(Fail, "not permitted: %v", err).advise("see capabilities; a seccomp or LSM profile may forbid it as well")
	}
	return found(Fail, "%v", err).advise("%s", advice)
}

func bpf(f *facts) Check {
	err := f.lab.program
	if err == nil {
		err = f.lab.sockets
	}
	return f.tried(err, "XDP programs and XSKMAPs load", "the kernel must have CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS")
}

func xdp(f *facts) Check {
	if f.lab.native == nil && f.lab.generic == nil {
		return found(OK, "programs attach by BPF links, native and generic")
	}
	if f.lab.native == nil || f.lab.generic == nil {
		return found(Warn, "native: %s; generic: %s", outcome(f.lab.native), outcome(f.lab.generic)).
			advise("the forwarder takes the one that works, where the driver allows it")
	}
	err := f.lab.native
	if f.lab.veth != nil {
		err = f.lab.veth
	}
	return f.tried(err, "", "the kernel must have BPF links for XDP (Linux 5.9) and veth devices")
}

func outcome(err error) string {
	if err == nil {
		return "works"
	}
	return err.Error()
}

func afxdp(f *facts) Check {
	return f.tried(f.lab.afxdp, "a frame was received", "the kernel must have CONFIG_XDP_SOCKETS (Linux 5.4 or later)")
}

func multiBuffer(f *facts) Check {
	if err := f.lab.frags; err != nil && !errors.Is(err, errNotTried) && kernelTooOld(err) {
		return found(Warn, "no XDP programs for frames larger than a page").
			advise("keep the uplink's MTU at %d or less, or use Linux 6.6 or later", usualMTU)
	}
	return f.tried(f.lab.frags, "XDP programs may see frames larger than a page", "")
}

func uplinkFound(f *facts) Check {
	if f.uplinkErr != nil {
		return found(Fail, "%v", f.uplinkErr).advise("NSM_TUNNEL_IP must be an address of this node that other nodes reach; the pod needs hostNetwork")
	}
	u := f.uplink
	text := fmt.Sprintf("%s, %s", u.Link, u.Addr)
	if len(u.VLAN) > 0 {
		text += fmt.Sprintf(", VLAN %v on %s", u.VLAN, u.Device)
	}
	if f.driver != "" {
		text += ", driver " + f.driver
	}
	return found(OK, "%s", text)
}

var noUplink = found(Skip, "there is no uplink to look at")

func uplinkXDP(f *facts) Check {
	switch {
	case f.uplinkErr != nil:
		return noUplink
	case f.xdpErr != nil:
		return found(Skip, "%v", f.xdpErr)
	case f.attach != nil && f.attach.native != nil:
		return found(Warn, "native mode was tried and failed: %v", f.attach.native).advise("generic mode is used, which is slower")
	case f.attach != nil:
		return found(OK, "native mode was tried and works")
	}
	d, known := drivers[f.driver]
	s := f.xdp.Support
	native, by := s.Native && s.Redirect, "the driver says"
	if !s.Known {
		native, by = d.native, "drivers of this name have"
		if !known {
			return found(Skip, "driver %q is not known, and this kernel cannot tell", f.driver).advise("try it: doctor --attach")
		}
	}
	switch {
	case native && d.note != "":
		return found(OK, "native (%s); %s", by, d.note)
	case native:
		return found(OK, "native (%s)", by)
	}
	c := found(Warn, "generic only (%s)", by).advise("it works, slower: every frame becomes a packet of the kernel first")
	if d.note != "" {
		c.Advice += "; " + d.note
	}
	return c
}

func otherProgram(f *facts) Check {
	switch {
	case f.uplinkErr != nil:
		return noUplink
	case f.xdpErr != nil:
		return found(Skip, "%v", f.xdpErr)
	case len(f.xdp.Programs) == 0:
		return found(OK, "none")
	}
	for _, p := range f.xdp.Programs {
		if p.Ours() {
			continue
		}
		c := found(Fail, "%s is attached to %s", p, f.uplink.Device).
			advise("it is never evicted: detach it if it is left over (ip link set %s xdp off), or use NSM_FORWARDING_PLANE=kernel", f.uplink.Device)
		if p.Owner() == "Cilium" {
			c.Advice = "Cilium accelerates this interface: turn that off (loadBalancer.acceleration=disabled), or use NSM_FORWARDING_PLANE=kernel"
		}
		return c
	}
	return found(OK, "%s is our own; a forwarder that starts takes it over", f.xdp.Programs[0])
}

func zeroCopy(f *facts) Check {
	const copies = "packets are copied once between kernel and forwarder"
	switch {
	case f.uplinkErr != nil:
		return noUplink
	case f.attach != nil && f.attach.native == nil && f.attach.zeroCopy == nil:
		return found(OK, "was tried and works")
	case f.attach != nil:
		return found(Warn, "was tried and failed: %v", f.attach.zeroCopy).advise(copies)
	case f.xdpErr != nil:
		return found(Skip, "%v", f.xdpErr)
	case f.xdp.Support.Known && f.xdp.Support.ZeroCopy:
		return found(OK, "the driver says that it can")
	case f.xdp.Support.Known:
		return found(Warn, "the driver cannot").advise(copies)
	case drivers[f.driver].zeroCopy:
		return found(OK, "drivers of this name can")
	}
	return found(Warn, "not known of driver %q", f.driver).advise(copies)
}

// maxQueues is how many the classifier's socket map has room for.
const maxQueues = 1024

func queues(f *facts) Check {
	if f.uplinkErr != nil {
		return noUplink
	}
	rx, tx := f.uplink.Queues, f.channels.TX
	switch {
	case rx > maxQueues:
		return found(Fail, "%d receive queues", rx).advise("the classifier has room for %d: ethtool -L %s combined %d", maxQueues, f.uplink.Device, maxQueues)
	case f.channelsErr != nil || tx == 0:
		return found(OK, "%d for receiving; the driver does not count its channels", rx)
	case tx < rx:
		return found(Warn, "%d for receiving, %d for sending", rx, tx).
			advise("sockets on queues without a sending side cannot send: make them equal with ethtool -L %s", f.uplink.Device)
	}
	return found(OK, "%d for receiving, %d for sending", rx, tx)
}

func mtu(f *facts) Check {
	if f.uplinkErr != nil {
		return noUplink
	}
	m, text := f.uplink.MTU, podMTUs(f)
	w := tunnelmtu.Overhead(plane.KindWireGuard, f.uplink.Addr)
	limit := usualMTU
	if d := drivers[f.driver]; d.maxMTU > 0 {
		limit = d.maxMTU
	}
	switch {
	case m < plane.MinMTU6:
		return found(Warn, "%s", text).advise("pods cannot have IPv6 below %d: raise the MTU of %s to %d, or to %d for packets in one piece",
			plane.MinMTU6, f.uplink.Link, plane.MinMTU6, plane.MinMTU6+w)
	case m < plane.MinMTU6+w:
		return found(Warn, "%s, the largest packets in two fragments, which NSM_FORWARDING_PLANE=kernel has for WireGuard only", text).
			advise("raise the MTU of %s to %d: one piece takes half the work, and is lost half as often", f.uplink.Link, plane.MinMTU6+w)
	case m > limit && f.xdpErr == nil && !f.xdp.Support.MultiBuffer:
		return found(Warn, "%s; native XDP takes %d at most", text, limit).
			advise("lower the MTU of %s to %d, else generic mode is used", f.uplink.Link, limit)
	}
	return found(OK, "%s", text)
}

// podMTUs says what is left inside tunnels.
func podMTUs(f *facts) string {
	inside := func(link int, tunnel plane.Kind) int {
		return plane.TunnelMTU(link, tunnelmtu.Overhead(tunnel, f.uplink.Addr))
	}
	m, used := f.uplink.MTU, embedded.UnderlayMTU(f.uplink.MTU)
	v, w := inside(used, plane.KindVXLAN), inside(used, plane.KindWireGuard)
	if used == m {
		return fmt.Sprintf("%d; pods get %d over VXLAN, %d over WireGuard", m, v, w)
	}
	return fmt.Sprintf("%d, of which tunnels use %d; pods get %d over VXLAN, %d over WireGuard (with NSM_FORWARDING_PLANE=kernel %d, %d)",
		m, used, v, w, inside(m, plane.KindVXLAN), inside(m, plane.KindWireGuard))
}

func vlanTags(f *facts) Check {
	switch {
	case f.uplinkErr != nil:
		return noUplink
	case f.tagsErr != nil:
		return found(Skip, "%v", f.tagsErr)
	case f.tags.on && f.tags.fixed:
		return found(Warn, "the driver takes them off, and cannot be told not to").
			advise("connections by the VLAN mechanism fail: give NSM_TUNNEL_IP of an interface for which ethtool -k does not say \"rx-vlan-offload: on [fixed]\"")
	case f.tags.on:
		return found(OK, "the driver takes them off; the forwarder turns that off with the first VLAN connection")
	}
	return found(OK, "stay on received frames")
}

func lockedMemory(f *facts) Check {
	const perQueue = 2 * xsk.DefaultRingSize * xsk.DefaultFrameSize
	need := uint64(max(f.uplink.Queues, 1)) * perQueue
	switch {
	case f.has(unix.CAP_IPC_LOCK):
		return found(OK, "not limited, by IPC_LOCK")
	case f.memlock == unix.RLIM_INFINITY:
		return found(OK, "not limited")
	case f.memlock >= need && version(f.release) >= noBPFMemlock:
		return found(OK, "%s, sockets need %s", size(f.memlock), size(need))
	}
	return found(Fail, "%s, sockets need %s", size(f.memlock), size(need)).
		advise("add the capability IPC_LOCK, or raise the limit of the container runtime (LimitMEMLOCK=infinity)")
}

func size(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func bpfFileSystem(f *facts) Check {
	switch {
	case f.isBPFFS:
		return found(OK, "%s", f.bpffs)
	case f.has(unix.CAP_SYS_ADMIN):
		return found(Warn, "%s is none; the forwarder mounts one there", f.bpffs).
			advise("mount the node's as a hostPath with mountPropagation, so that the classifier stays when the container goes")
	}
	return found(Fail, "%s is none, and we may not mount one", f.bpffs).advise("mount the node's %s as a hostPath", DefaultBPFFS)
}

func hugePages(f *facts) Check {
	transparent := "transparent ones: " + f.transparentHuge
	if f.transparentHuge == "" {
		transparent = "no transparent ones"
	}
	switch {
	case f.hugeFree > 0:
		return found(OK, "%d of %d free; %s", f.hugeFree, f.hugeTotal, transparent)
	case f.transparentHuge == "always" || f.transparentHuge == "madvise":
		return found(OK, "none free; %s", transparent)
	}
	return found(Warn, "none free; %s", transparent).advise("a little faster with: sysctl vm.nr_hugepages=%d", 8*max(f.uplink.Queues, 1))
}

func tap(f *facts) Check {
	return f.tried(f.lab.tap, "can be made, with segmentation offload", "load the module tun, and mount /dev/net/tun into the container")
}

func namespaces(f *facts) Check {
	if f.lab.err != nil {
		return found(Fail, "%v", f.lab.err).advise("see capabilities: pods are configured from inside their namespaces")
	}
	if f.lab.sysctl != nil {
		return found(Warn, "can be entered, but not configured: %v", f.lab.sysctl).
			advise("/proc/sys must be writable for IPv6 in pods where it is disabled: run the container privileged")
	}
	return found(OK, "can be entered and configured")
}

// The devices are used by the kernel plane alone.
func kernelPlane(c Check, what string) Check {
	if c.Status == Fail {
		c.Status = Warn
		c.Advice = "only NSM_FORWARDING_PLANE=kernel needs it; load the module " + what
	}
	return c
}

func vxlanDevice(f *facts) Check {
	return kernelPlane(f.tried(f.lab.vxlan, "can be made", ""), "vxlan")
}

func wireguardDevice(f *facts) Check {
	return kernelPlane(f.tried(f.lab.wireguard, "can be made", ""), "wireguard")
}

func vlanDevice(f *facts) Check {
	return kernelPlane(f.tried(f.lab.vlan, "can be made", ""), "8021q")
}
