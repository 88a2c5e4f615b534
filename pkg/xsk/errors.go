// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrLinkDown says that the interface is down. Frames to send stay on the
	// TX ring until it is up again.
	ErrLinkDown = errors.New("interface is down")
	// ErrLinkGone says that the interface was removed. The socket is unbound for
	// good: close it, and open another when the interface is back.
	ErrLinkGone = errors.New("interface is gone")
)

// explain adds to the errno of a step of opening what it means and what to do.
// The texts are for the operator of a node.
func explain(step string, err error, cfg Config, s *Socket) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	hint := ""
	switch errno {
	case unix.EPERM, unix.EACCES:
		switch step {
		case "socket":
			hint = "CAP_NET_RAW is needed in the user namespace that owns this network namespace"
		case "set socket options":
			hint = "raising busy poll values needs CAP_NET_ADMIN"
		default:
			hint = "missing privilege"
		}
	case unix.EAFNOSUPPORT:
		hint = "the kernel was built without CONFIG_XDP_SOCKETS"
	case unix.ENOPROTOOPT:
		hint = "the kernel is older than 5.4"
	case unix.ENOBUFS, unix.ENOMEM:
		if step == "register UMEM" {
			hint = lockedMemory(len(s.umem.mem))
		}
	case unix.ENODEV:
		hint = "no interface has this index in this network namespace"
	case unix.ENETDOWN:
		hint = "the interface is down; set it up first"
	case unix.EBUSY:
		if step == "bind" {
			hint = fmt.Sprintf("another AF_XDP socket had the queue for all of %s; find its process with ss --xdp -p or bpftool map", cfg.BindTimeout)
		}
	case unix.EOPNOTSUPP:
		switch {
		case cfg.Mode == ZeroCopy && cfg.MultiBuffer:
			hint = "the driver has no zero-copy AF_XDP, or none with packets of several frames; use mode auto or copy"
		case cfg.Mode == ZeroCopy:
			hint = "the driver has no zero-copy AF_XDP; use mode auto or copy"
		case cfg.MultiBuffer:
			hint = "the driver or the kernel (before 6.6) cannot do packets of several frames; limit the MTU instead"
		}
	case unix.EINVAL:
		switch step {
		case "register UMEM":
			hint = fmt.Sprintf("the kernel does not accept frames of %d bytes with headroom %d", s.umem.frameSize, s.umem.headroom)
		case "bind":
			hint = bindRefused(cfg)
		}
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}

func lockedMemory(size int) string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil || limit.Cur == unix.RLIM_INFINITY {
		return fmt.Sprintf("not enough memory for a UMEM of %d KiB", size>>10)
	}
	return fmt.Sprintf("a UMEM of %d KiB goes beyond the locked-memory limit of %d KiB for all of this user's processes; "+
		"raise it (ulimit -l, LimitMEMLOCK= in systemd), or grant CAP_IPC_LOCK", size>>10, limit.Cur>>10)
}

func bindRefused(cfg Config) string {
	hint := "the interface has no such queue"
	if cfg.MultiBuffer {
		hint += ", or the kernel (before 6.6) cannot do packets of several frames"
	}
	if cfg.Mode == ZeroCopy {
		hint += ", or the MTU is too large for the frames in zero-copy mode"
	}
	if cfg.UMEM != nil {
		hint += ", or a socket of the same UMEM has the queue already"
	}
	return hint
}
