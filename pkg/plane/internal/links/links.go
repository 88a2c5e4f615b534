// SPDX-License-Identifier: Apache-2.0

// Package links keeps the connections that a plane has joined: each changes by
// itself, and their status can be read meanwhile.
package links

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
)

// ErrClosed is what Join fails with after Close.
var ErrClosed = errors.New("the plane is closed")

// Link is what a plane makes of a connection. One method is called at a time.
type Link interface {
	// Join makes the ports of a connection, whose MTU is decided, and lets packets
	// flow between them. The ports of old are there, unless it is nil. If it fails,
	// TearDown follows.
	Join(ctx context.Context, old, c *plane.Connection) error
	// TearDown leaves nothing of the link in this process, and nothing at all
	// unless what can do without it is to be kept.
	TearDown(keep bool) error
	// Report tells of the connection that is joined.
	Report(c *plane.Connection) plane.Link
}

// Set is the links of a plane by the ids of their connections. It is made by New.
type Set[L Link] struct {
	empty func() L
	mtu   func(*plane.Connection) (int, error)

	mu     sync.Mutex
	closed bool
	all    map[string]*entry[L]
}

// entry is a link by its id. Its lock is held for as long as Join or Leave take.
type entry[L Link] struct {
	mu        sync.Mutex
	forgotten bool
	link      L
	settle    func(context.Context, L) error // see Resume; nil if somebody has asked for it
	// shown is held to change what the status tells, and to read it: All need not
	// wait until a join is through.
	shown sync.Mutex
	conn  *plane.Connection // with its MTU decided; nil unless joined
}

// New is an empty set. empty makes a link, and mtu decides the MTU of a
// connection, in bytes.
func New[L Link](empty func() L, mtu func(*plane.Connection) (int, error)) *Set[L] {
	return &Set[L]{empty: empty, mtu: mtu, all: map[string]*entry[L]{}}
}

// Join is plane.Plane's.
func (s *Set[L]) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	e, err := s.hold(c.ID)
	if err != nil {
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	defer e.mu.Unlock()
	if err := s.join(ctx, e, c); err != nil {
		err = errors.Join(err, e.tearDown(false))
		s.forget(c.ID, e)
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	joined, _ := e.status()
	return joined, nil
}

func (s *Set[L]) join(ctx context.Context, e *entry[L], c *plane.Connection) error {
	conn, old := *c, e.conn
	var err error
	if conn.MTU, err = s.mtu(c); err != nil {
		return err
	}
	if old != nil && tunnels.Same(old, &conn) {
		return e.asked(ctx)
	}
	e.settle = nil
	e.show(nil)
	if err := e.link.Join(ctx, old, &conn); err != nil {
		return err
	}
	e.show(&conn)
	return nil
}

// Leave undoes Join. If keep is set, what can do without this process stays.
func (s *Set[L]) Leave(id string, keep bool) error {
	if err := s.end(id, keep, func(*entry[L]) bool { return true }); err != nil {
		return fmt.Errorf("leave connection %s: %w", id, err)
	}
	return nil
}

// end tears the link of a connection down and forgets it, if there is one that is
// wanted.
func (s *Set[L]) end(id string, keep bool, wanted func(*entry[L]) bool) error {
	s.mu.Lock()
	e := s.all[id]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !wanted(e) {
		return nil
	}
	err := e.tearDown(keep)
	s.forget(id, e)
	return err
}

// Close leaves all connections. Only the first call does, and returns true.
func (s *Set[L]) Close(keep bool) (first bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false, nil
	}
	s.closed = true
	ids := make([]string, 0, len(s.all))
	for id := range s.all {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		err = errors.Join(err, s.Leave(id, keep))
	}
	return true, err
}

// Get is the link of a connection, if there is one.
func (s *Set[L]) Get(id string) (link L, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.all[id]; e != nil {
		return e.link, true
	}
	return link, false
}

// All lists the joined connections, ordered by id.
func (s *Set[L]) All() []plane.Link {
	s.mu.Lock()
	entries := make([]*entry[L], 0, len(s.all))
	for _, e := range s.all {
		entries = append(entries, e)
	}
	s.mu.Unlock()
	var all []plane.Link
	for _, e := range entries {
		if l, ok := e.status(); ok {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b plane.Link) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// hold returns the entry of a connection, locked, making it if it is not there.
func (s *Set[L]) hold(id string) (*entry[L], error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, ErrClosed
		}
		e := s.all[id]
		if e == nil {
			e = &entry[L]{link: s.empty()}
			s.all[id] = e
		}
		s.mu.Unlock()
		e.mu.Lock()
		if !e.forgotten {
			return e, nil
		}
		e.mu.Unlock()
	}
}

// forget takes an entry, which is locked, out of the set.
func (s *Set[L]) forget(id string, e *entry[L]) {
	e.forgotten = true
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[id] == e {
		delete(s.all, id)
	}
}

func (e *entry[L]) tearDown(keep bool) error {
	e.settle = nil
	e.show(nil)
	return e.link.TearDown(keep)
}

// show makes the status tell of the connection, or of none.
func (e *entry[L]) show(c *plane.Connection) {
	e.shown.Lock()
	defer e.shown.Unlock()
	e.conn = c
}

func (e *entry[L]) status() (plane.Link, bool) {
	e.shown.Lock()
	defer e.shown.Unlock()
	if e.conn == nil {
		return plane.Link{}, false
	}
	return e.link.Report(e.conn), true
}
