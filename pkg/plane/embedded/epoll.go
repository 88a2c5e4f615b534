// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is an epoll instance with an eventfd to wake whoever sleeps in it.
type poller struct {
	epoll, event int
	events       [burstSize]unix.EpollEvent
}

// Slots of a poller that are not those of ports.
const (
	slotEvent  = -1
	slotUplink = -2
)

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll instance: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	p := &poller{epoll: epoll, event: event}
	if err := p.add(event, slotEvent); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add watches a descriptor for input; slot comes back with its events.
func (p *poller) add(fd, slot int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(slot)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) // fails if the device is gone
}

// poll returns what is ready, without waiting. The Go scheduler is not told.
func (p *poller) poll() []unix.EpollEvent {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), 0, 0, 0)
	if errno != 0 {
		return nil
	}
	return p.events[:n]
}

// wait returns what is ready, or sleeps until something is, at most the given
// time in milliseconds, or for ever if negative.
func (p *poller) wait(timeout int) []unix.EpollEvent {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(timeout), 0, 0)
	if errno != 0 { // a signal
		return nil
	}
	return p.events[:n]
}

// wake ends a wait, or makes the next one return.
func (p *poller) wake() {
	one := uint64(1)
	_, _ = unix.Write(p.event, unsafe.Slice((*byte)(unsafe.Pointer(&one)), 8)) // fails only if it is set already
}

// woken takes the wake-up back.
func (p *poller) woken() {
	var n [8]byte
	_, _ = unix.Read(p.event, n[:])
}

func (p *poller) close() {
	_ = unix.Close(p.event)
	_ = unix.Close(p.epoll)
}
