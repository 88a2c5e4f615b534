// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

// mount is an argument list of mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func (m *mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}

// mountRoot replaces the initramfs by the host's root folder under a layer of
// memory.
func mountRoot() error {
	for _, m := range []mount{
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
		{wire.RootTag, "/host", "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=524288,cache=loose"},
		{"tmpfs", "/memory", "tmpfs", 0, "size=75%"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/memory/upper", "/memory/work", "/root"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	over := mount{"overlay", "/root", "overlay", 0, "lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work"}
	if err := over.do(); err != nil {
		return err
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// mountAll mounts what systemd mounts on a Debian. /run hides the host's.
func mountAll() error {
	for _, m := range []mount{
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
		{"devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{"tmpfs", temporary, "tmpfs", 0, "mode=1777"},
		{"bpf", "/sys/fs/bpf", "bpf", 0, "mode=700"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""},
		{"tracefs", "/sys/kernel/tracing", "tracefs", 0, ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	// Mounts propagate as on a machine with systemd.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	// For the init process itself; programs get the variables of their orders.
	return os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

func loadModules(paths []string) error {
	for _, path := range paths {
		module, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(module.Fd()), "", 0)
		_ = module.Close()
		// A variant of an algorithm for processors with an instruction that this
		// one lacks is not missed.
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("load module %s: %w", filepath.Base(path), err)
		}
	}
	return nil
}
