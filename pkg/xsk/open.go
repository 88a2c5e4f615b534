// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open binds a socket to a queue of the interface with the given index in the
// network namespace of the calling thread, with the FILL ring full. It waits up
// to cfg.BindTimeout for a queue that is in use. The socket gets packets once it
// is in an XSKMAP that the interface's XDP program redirects to.
//
// Errors wrap the kernel's errno and say what to do about the usual ones.
func Open(ifindex, queue int, cfg Config) (*Socket, error) {
	cfg = cfg.withDefaults()
	s := &Socket{fd: -1, ifindex: ifindex, queue: queue, frames: cfg.Frames, umem: cfg.UMEM, private: cfg.UMEM == nil}
	name := fmt.Sprintf("AF_XDP socket on interface %d queue %d", ifindex, queue)
	s.errDown = fmt.Errorf("%s: %w", name, ErrLinkDown)
	s.errGone = fmt.Errorf("%s: %w", name, ErrLinkGone)
	if err := s.open(cfg); err != nil {
		err = fmt.Errorf("open %s: %w", name, err)
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open takes the steps in the order that the kernel demands.
func (s *Socket) open(cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if s.ifindex < 1 || s.queue < 0 {
		return errors.New("interface index or queue out of range")
	}
	var offsets unix.XDPMmapOffsets
	var registered *Socket // whose UMEM registration is used too
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"memory", func() (err error) {
			if s.private {
				s.umem, err = NewUMEM(cfg)
			}
			if err == nil {
				if err = s.umem.join(s, s.frames); err == nil {
					registered = s.umem.bound(s)
				}
			}
			return err
		}},
		{"socket", func() (err error) {
			s.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			return err
		}},
		{"register UMEM", func() error {
			if registered != nil {
				return nil
			}
			reg := unix.XDPUmemReg{
				Addr:     uint64(uintptr(unsafe.Pointer(unsafe.SliceData(s.umem.mem)))),
				Len:      uint64(len(s.umem.mem)),
				Size:     uint32(s.umem.frameSize),
				Headroom: uint32(s.umem.headroom),
			}
			return setsockopt(s.fd, unix.SOL_XDP, unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg))
		}},
		{"set ring sizes", func() error {
			for _, r := range []struct{ option, size int }{
				{unix.XDP_UMEM_FILL_RING, cfg.FillSize}, {unix.XDP_UMEM_COMPLETION_RING, cfg.CompletionSize},
				{unix.XDP_RX_RING, cfg.RxSize}, {unix.XDP_TX_RING, cfg.TxSize},
			} {
				if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, r.option, r.size); err != nil {
					return err
				}
			}
			return nil
		}},
		{"map rings", func() error {
			n, err := getsockopt(s.fd, unix.SOL_XDP, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&offsets), unsafe.Sizeof(offsets))
			if err != nil {
				return err
			}
			if n != unsafe.Sizeof(offsets) { // before 5.4, without flags
				return unix.ENOPROTOOPT
			}
			return errors.Join(
				s.fill.mmap(s.fd, cfg.FillSize, offsets.Fr, unix.XDP_UMEM_PGOFF_FILL_RING),
				s.done.mmap(s.fd, cfg.CompletionSize, offsets.Cr, unix.XDP_UMEM_PGOFF_COMPLETION_RING),
				s.rx.mmap(s.fd, cfg.RxSize, offsets.Rx, unix.XDP_PGOFF_RX_RING),
				s.tx.mmap(s.fd, cfg.TxSize, offsets.Tx, unix.XDP_PGOFF_TX_RING))
		}},
		{"set socket options", func() error {
			s.limits(cfg)
			s.busyPoll = cfg.BusyPoll.Duration > 0
			known, err := setTxBudget(s.fd, cfg.TxBudget)
			s.lateIndex = !known
			return errors.Join(err, setBusyPoll(s.fd, cfg.BusyPoll))
		}},
		{"bind", func() error {
			s.refill()
			return s.bind(cfg, registered)
		}},
		{"read options", func() error {
			var options uint32
			_, err := getsockopt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS, unsafe.Pointer(&options), unsafe.Sizeof(options))
			s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
			if err == nil && cfg.Mode == ZeroCopy && !s.zeroCopy { // inherited from the UMEM's first socket
				err = unix.EOPNOTSUPP
			}
			return err
		}},
	} {
		var err error
		if cfg.fail != nil {
			err = cfg.fail(step.name, s.queue)
		}
		if err == nil {
			err = step.run()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, explain(step.name, err, cfg, s))
		}
	}
	return nil
}

// limits derives from the configuration how many frames either direction holds.
func (s *Socket) limits(cfg Config) {
	s.maxPosted = uint32(min(cfg.FillSize, cfg.Frames-cfg.TxSize))
	s.maxSent = uint32(cfg.TxSize)
	s.fragments = 1
	if cfg.MultiBuffer {
		s.fragments = MaxFragments
	}
}

// bind waits for a busy queue, trying at growing intervals.
func (s *Socket) bind(cfg Config, registered *Socket) error {
	addr := unix.RawSockaddrXDP{
		Family:   unix.AF_XDP,
		Ifindex:  uint32(s.ifindex),
		Queue_id: uint32(s.queue),
	}
	if registered != nil { // the mode and the rest are inherited
		s.fragments = registered.fragments
		addr.Flags = unix.XDP_SHARED_UMEM
		addr.Shared_umem_fd = uint32(registered.fd)
	} else {
		addr.Flags = unix.XDP_USE_NEED_WAKEUP
		switch cfg.Mode {
		case Copy:
			addr.Flags |= unix.XDP_COPY
		case ZeroCopy:
			addr.Flags |= unix.XDP_ZEROCOPY
		}
		if cfg.MultiBuffer {
			addr.Flags |= unix.XDP_USE_SG
		}
	}
	deadline := time.Now().Add(cfg.BindTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(s.fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr))
		if errno == 0 {
			s.bound = true
			return nil
		}
		left := time.Until(deadline)
		if errno != unix.EBUSY || left <= 0 {
			return errno
		}
		time.Sleep(min(wait, left))
	}
}

// Close takes the socket off its queue and out of all XSKMAPs, and unmaps the
// UMEM if it is the socket's own: no slice into it may be used afterwards. The
// kernel releases the queue a moment later. Closing again does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	// A mapped ring keeps the socket alive, so the rings go first.
	s.fill.munmap()
	s.done.munmap()
	s.rx.munmap()
	s.tx.munmap()
	var errs []error
	if s.fd >= 0 {
		if err := unix.Close(s.fd); err != nil {
			errs = append(errs, fmt.Errorf("close AF_XDP socket: %w", err))
		}
		s.fd = -1
	}
	s.bound = false
	if s.umem != nil {
		if s.posted != 0 {
			s.umem.leave(s, s.frames)
		}
		if s.private {
			errs = append(errs, s.umem.Close())
		}
	}
	return errors.Join(errs...)
}

// setTxBudget also tells whether the kernel knows such budgets, as it does since
// 6.17.
func setTxBudget(fd, budget int) (known bool, err error) {
	err = unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, max(budget, leastTxBudget))
	switch {
	case errors.Is(err, unix.ENOPROTOOPT):
		return false, nil
	case budget == 0: // a TX ring smaller than the kernel's own budget is no error
		return true, nil
	}
	return true, err
}

func setBusyPoll(fd int, b BusyPoll) error {
	if b.Duration <= 0 {
		return nil
	}
	prefer := 0
	if b.Prefer {
		prefer = 1
	}
	for _, o := range []struct{ option, value int }{
		{unix.SO_PREFER_BUSY_POLL, prefer},
		{unix.SO_BUSY_POLL, int(b.Duration.Microseconds())},
		{unix.SO_BUSY_POLL_BUDGET, b.Budget},
	} {
		if o.value == 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.option, o.value); err != nil {
			return fmt.Errorf("busy poll: %w", err)
		}
	}
	return nil
}

func setsockopt(fd, level, option int, value unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value), size, 0)
	runtime.KeepAlive(value)
	if errno != 0 {
		return errno
	}
	return nil
}

// getsockopt returns how many bytes of the value the kernel wrote.
func getsockopt(fd, level, option int, value unsafe.Pointer, size uintptr) (uintptr, error) {
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(value),
		uintptr(unsafe.Pointer(&n)), 0)
	runtime.KeepAlive(value)
	if errno != 0 {
		return 0, errno
	}
	return uintptr(n), nil
}
