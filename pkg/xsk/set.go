// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Set is a socket on each queue of an interface.
type Set struct {
	sockets []*Socket
	maps    []*ebpf.Map // duplicates of those that the sockets are in
}

// OpenSet opens a socket on queues 0 to queues-1, all or none. Every socket has
// a UMEM of its own unless cfg.UMEM is given. An interface must have all its
// receive queues covered: packets of another queue do not reach these sockets.
func OpenSet(ifindex, queues int, cfg Config) (*Set, error) {
	if queues < 1 {
		return nil, fmt.Errorf("open AF_XDP sockets on interface %d: %d queues", ifindex, queues)
	}
	set := &Set{}
	for queue := range queues {
		s, err := Open(ifindex, queue, cfg)
		if err != nil {
			return nil, errors.Join(err, set.Close())
		}
		set.sockets = append(set.sockets, s)
	}
	return set, nil
}

// Sockets are the sockets, by queue.
func (s *Set) Sockets() []*Socket { return s.sockets }

// Register puts the sockets into an XSKMAP whose keys are queues, all or none.
// From then on they get packets. Close takes them out; the caller may close m
// before.
func (s *Set) Register(m *ebpf.Map) error {
	dup, err := m.Clone()
	if err != nil {
		return fmt.Errorf("register AF_XDP sockets: %w", err)
	}
	return s.register(dup)
}

// RegisterPinned is Register for a map pinned at a path on a bpffs.
func (s *Set) RegisterPinned(path string) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return fmt.Errorf("register AF_XDP sockets: %w", err)
	}
	return s.register(m)
}

// RegisterFD is Register for a map that somebody handed to this process as a
// file descriptor, which stays the caller's.
func (s *Set) RegisterFD(fd int) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("register AF_XDP sockets: file descriptor %d: %w", fd, err)
	}
	m, err := ebpf.NewMapFromFD(dup)
	if err != nil {
		_ = unix.Close(dup)
		return fmt.Errorf("register AF_XDP sockets: file descriptor %d: %w", fd, err)
	}
	return s.register(m)
}

func (s *Set) register(m *ebpf.Map) error {
	if m.Type() != ebpf.XSKMap {
		_ = m.Close()
		return fmt.Errorf("register AF_XDP sockets: map is a %s, not an XSKMap", m.Type())
	}
	for i, x := range s.sockets {
		if err := m.Update(uint32(x.queue), uint32(x.fd), ebpf.UpdateAny); err != nil {
			err = fmt.Errorf("register AF_XDP socket of queue %d in map of %d entries: %w", x.queue, m.MaxEntries(), err)
			return errors.Join(err, remove(m, s.sockets[:i]))
		}
	}
	s.maps = append(s.maps, m)
	return nil
}

// remove takes sockets out of a map and closes it.
func remove(m *ebpf.Map, sockets []*Socket) error {
	var errs []error
	for _, x := range sockets {
		err := m.Delete(uint32(x.queue))
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("take AF_XDP socket of queue %d out of its map: %w", x.queue, err))
		}
	}
	return errors.Join(append(errs, m.Close())...)
}

// Close takes the sockets out of the maps, so that packets go to Linux again (if
// the XDP program says so), and then closes them.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, remove(m, s.sockets))
	}
	for _, x := range s.sockets {
		errs = append(errs, x.Close())
	}
	s.maps, s.sockets = nil, nil
	return errors.Join(errs...)
}
