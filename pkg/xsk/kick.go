// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastTxBudget is how many packets a system call sends in copy mode if nobody
// asks for more.
const leastTxBudget = 32

// Kick has the kernel send what is on the TX ring and use what is on the FILL
// ring, with as many system calls as that takes: often none. In copy mode the
// packets are sent within the calls, a budget of them in each. What the
// interface cannot take at the moment stays on the ring for another Kick;
// Pending tells that.
//
// The calls do not block, and so the Go scheduler is not told of them.
//
// It returns an error that wraps ErrLinkDown or ErrLinkGone.
func (s *Socket) Kick() error {
	if s.busyPoll || s.fill.needWakeup() {
		if errno := s.wakeReceiver(); errno != 0 {
			if err := s.failed(errno); err != nil {
				return err
			}
		}
	}
	if s.tx.drained() || !s.tx.needWakeup() {
		return nil
	}
	// Kernels before 6.17 move their index only when they are through with all that
	// they once saw on the ring, and so they get as many calls as that can take.
	blind := uint32(0)
	if s.lateIndex {
		blind = (s.tx.local - atomic.LoadUint32(s.tx.consumer)) / leastTxBudget
	}
	for {
		before := atomic.LoadUint32(s.tx.consumer)
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			if err := s.failed(errno); err != nil {
				return err
			}
		}
		// The errno does not tell a spent budget from a queue that is full.
		if s.zeroCopy || s.tx.drained() {
			return nil
		}
		if atomic.LoadUint32(s.tx.consumer) == before {
			if blind == 0 || errno != unix.EAGAIN {
				return nil
			}
			blind--
		}
	}
}

// wakeReceiver runs the driver's receive side for new FILL entries, or a turn of
// busy polling.
func (s *Socket) wakeReceiver() unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EOPNOTSUPP { // before 5.11
		fds := unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
		var now unix.Timespec
		_, _, errno = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	}
	return errno
}

// failed tells errors that matter from those that mean "not now".
func (s *Socket) failed(errno unix.Errno) error {
	switch errno {
	case unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR, unix.ENOMEM, unix.EOVERFLOW:
		return nil
	case unix.ENETDOWN:
		return s.errDown
	case unix.ENXIO, unix.ENODEV:
		return s.errGone
	default:
		return fmt.Errorf("wake AF_XDP socket on interface %d queue %d: %w", s.ifindex, s.queue, errno)
	}
}

// Wait sleeps until there are packets to receive, a signal comes or the timeout
// is over (never, if negative), and tells whether there are packets. It wakes
// the kernel as Kick does. After a timeout it also looks whether the interface is
// still there: the kernel does not wake sleepers when it goes.
func (s *Socket) Wait(timeout time.Duration) (bool, error) {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(timeout.Nanoseconds())
		ts = &t
	}
	fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	n, err := unix.Ppoll(fds[:], ts, nil)
	switch {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("wait for AF_XDP socket: %w", err)
	case n > 0 && fds[0].Revents&unix.POLLIN != 0:
		return true, nil
	}
	return false, s.Err()
}

// Err tells whether the socket can still get packets, now or when the interface
// is up again: nil, or an error that wraps ErrLinkGone. It makes a system call
// that does not block.
func (s *Socket) Err() error {
	errno := s.wakeReceiver()
	if errno == 0 || errno == unix.ENETDOWN {
		return nil
	}
	return s.failed(errno)
}
