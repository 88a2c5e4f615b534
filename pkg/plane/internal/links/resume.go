// SPDX-License-Identifier: Apache-2.0

package links

import (
	"context"
	"fmt"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Resume joins a connection that an earlier process had, by a function in the place
// of Link.Join, before anybody asks for it. It does nothing if somebody has. The
// first Join of the same connection calls settle, and joins no further. If resume
// fails, what can do without this process stays.
func (s *Set[L]) Resume(c *plane.Connection, resume func(L, *plane.Connection) error, settle func(context.Context, L) error) error {
	e, err := s.hold(c.ID)
	if err != nil {
		return fmt.Errorf("resume connection %s: %w", c.ID, err)
	}
	defer e.mu.Unlock()
	if e.conn != nil {
		return nil
	}
	conn := *c
	if conn.MTU, err = s.mtu(c); err == nil {
		err = resume(e.link, &conn)
	}
	if err != nil {
		_ = e.tearDown(true)
		s.forget(c.ID, e)
		return fmt.Errorf("resume connection %s: %w", c.ID, err)
	}
	e.settle = settle
	e.show(&conn)
	return nil
}

// Release leaves a connection that was resumed and that nobody has asked for. What
// can do without this process stays.
func (s *Set[L]) Release(id string) error {
	if err := s.end(id, true, func(e *entry[L]) bool { return e.settle != nil }); err != nil {
		return fmt.Errorf("release connection %s: %w", id, err)
	}
	return nil
}

// asked has a connection that was resumed be asked for.
func (e *entry[L]) asked(ctx context.Context) error {
	settle := e.settle
	if settle == nil {
		return nil
	}
	e.settle = nil
	return settle(ctx, e.link)
}
