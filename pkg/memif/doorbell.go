// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long writing to an eventfd may take. It does not block unless
// the peer wants it to.
const patience = 20 * time.Millisecond

// doorbell is a ring's eventfd. Both ends share its file, so the peer can make
// it blocking and fill its counter, and so hold up whoever signals it. Each
// signal is therefore guarded by a timer, which makes room and ends the
// connection.
type doorbell struct {
	fd      int
	ringing atomic.Bool
	timer   *time.Timer
	bad     func(error)

	mu     sync.Mutex // held by the timer, so that fd is not closed under it
	closed bool

	count [8]byte
	iovec unix.Iovec
}

// openDoorbell takes fd, which it closes if it is no eventfd.
func openDoorbell(fd int, bad func(error)) (*doorbell, error) {
	if err := checkEventfd(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d := &doorbell{fd: fd, bad: bad}
	d.iovec.Base = &d.count[0]
	d.iovec.SetLen(len(d.count))
	d.timer = time.AfterFunc(time.Hour, d.stuck)
	d.timer.Stop()
	return d, nil
}

// checkEventfd refuses what could be something else to write to: a pipe that
// blocks, somebody's socket.
func checkEventfd(fd int) error {
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return fmt.Errorf("memif: look at the ring's descriptor: %w", err)
	}
	if target != "anon_inode:[eventfd]" {
		return violation("ring's descriptor is no eventfd but %s", target)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("memif: make eventfd non-blocking: %w", err)
	}
	return nil
}

func makeEventfd() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memif: make eventfd: %w", err)
	}
	return fd, nil
}

var one = [8]byte{1}

// signal wakes who waits for the eventfd. A full counter has woken them already.
func (d *doorbell) signal() {
	d.ringing.Store(true)
	d.timer.Reset(patience)
	_, _ = unix.Write(d.fd, one[:])
	d.ringing.Store(false)
	d.timer.Stop()
}

// wake makes the eventfd readable for this end. Unlike signal it may be called
// by anyone, and leaves alone what is readable.
func (d *doorbell) wake() {
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n == 0 && err == nil {
		d.signal()
	}
}

// drain takes all signals. It never blocks, whatever the peer made of the
// file's mode.
func (d *doorbell) drain() {
	const atCurrentPosition = ^uintptr(0)
	_, _, errno := unix.RawSyscall6(unix.SYS_PREADV2, uintptr(d.fd), uintptr(unsafe.Pointer(&d.iovec)), 1,
		atCurrentPosition, atCurrentPosition, unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS { // before Linux 5.8
		_, _ = unix.Read(d.fd, d.count[:])
	}
}

// stuck runs when a signal takes too long.
func (d *doorbell) stuck() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !d.ringing.Load() {
		return
	}
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds, 0); n == 1 || err != nil {
		// There is room: the writer is held up by a busy machine, not by the peer.
		d.timer.Reset(patience)
		return
	}
	// The peer may be quicker than the writer and fill it again.
	d.timer.Reset(time.Millisecond)
	var count [8]byte
	iovec := unix.Iovec{Base: &count[0]}
	iovec.SetLen(len(count))
	_, _, _ = unix.RawSyscall6(unix.SYS_PREADV2, uintptr(d.fd), uintptr(unsafe.Pointer(&iovec)), 1,
		^uintptr(0), ^uintptr(0), unix.RWF_NOWAIT)
	d.bad(errStuck)
}

var errStuck = &ViolationError{What: "eventfd made to block"}

// close must not run while others signal.
func (d *doorbell) close() {
	d.timer.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		unix.Close(d.fd)
	}
}
