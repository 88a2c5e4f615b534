// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
)

// way is what carries the packets between the two ports of a connection.
type way interface {
	// path is as plane.Link has it.
	path() string
	// count is the client's counters and the endpoint's.
	count() [2]plane.Counters
	// close takes the way down, with its devices.
	close() error
	// release frees what the way has in this process. Devices that can do
	// without it stay.
	release() error
}

// link is a connection by its id. Its lock is held for as long as Join or Leave
// take, so that each connection changes by itself.
type link struct {
	mu        sync.Mutex
	forgotten bool
	// shown is held to change what the status tells, and to read it: Links need
	// not wait until a join is through.
	shown  sync.Mutex
	conn   *plane.Connection // with its MTU decided; nil unless joined
	way    way
	claims []string // see Plane.claim
}

// Join makes both ports and lets packets flow between them. Another process's
// device for the same connection is taken over.
func (p *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	l, err := p.hold(c.ID)
	if err != nil {
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	defer l.mu.Unlock()
	if err := l.join(ctx, p, c); err != nil {
		err = errors.Join(err, l.tearDown(p, false))
		p.forget(c.ID, l)
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	joined, _ := l.status()
	return joined, nil
}

// Leave undoes Join.
func (p *Plane) Leave(ctx context.Context, id string) error { return p.leave(ctx, id, false) }

func (p *Plane) leave(_ context.Context, id string, keep bool) error {
	p.mu.Lock()
	l := p.links[id]
	delete(p.wgPorts, id)
	delete(p.recalled, id)
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.tearDown(p, keep)
	p.forget(id, l)
	if err != nil {
		return fmt.Errorf("leave connection %s: %w", id, err)
	}
	return nil
}

// hold returns the link of a connection, locked, making it if it is not there.
func (p *Plane) hold(id string) (*link, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, errors.New("kernel plane is closed")
		}
		l := p.links[id]
		if l == nil {
			l = new(link)
			p.links[id] = l
		}
		p.mu.Unlock()
		l.mu.Lock()
		if !l.forgotten {
			return l, nil
		}
		l.mu.Unlock()
	}
}

// forget takes a link, which is locked, out of the list.
func (p *Plane) forget(id string, l *link) {
	l.forgotten = true
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[id] == l {
		delete(p.links, id)
	}
}

// join makes the way. If it fails, it leaves the rest to tearDown.
func (l *link) join(ctx context.Context, p *Plane, c *plane.Connection) error {
	conn := *c
	var err error
	if conn.MTU, err = tunnels.MTU(c, p.uplink.LinkName(), p.uplink.MTU()); err != nil {
		return err
	}
	if l.conn != nil {
		if tunnels.Same(l.conn, &conn) {
			return nil
		}
		if err := l.tearDown(p, false); err != nil {
			return err
		}
	}
	if l.way, err = p.open(ctx, l, &conn); err != nil {
		l.way = nil
		return err
	}
	l.show(&conn)
	return nil
}

// tearDown leaves nothing of a link in this process, and nothing at all unless
// its devices are to be kept.
func (l *link) tearDown(p *Plane, keep bool) error {
	l.show(nil)
	var err error
	switch {
	case l.way == nil:
	case keep:
		err = l.way.release()
	default:
		err = l.way.close()
	}
	l.way = nil
	p.disclaim(l)
	return err
}

// claim makes something that cannot be shared this connection's, until its
// tearDown. What is a few words for the error of the next one that wants it.
func (p *Plane) claim(l *link, id, what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if owner, taken := p.claims[what]; taken {
		return fmt.Errorf("connection %s has %s", strconv.Quote(owner), what)
	}
	p.claims[what] = id
	l.claims = append(l.claims, what)
	return nil
}

func (p *Plane) disclaim(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, what := range l.claims {
		delete(p.claims, what)
	}
	l.claims = nil
}

// show makes the status tell of the connection, or of none.
func (l *link) show(c *plane.Connection) {
	l.shown.Lock()
	defer l.shown.Unlock()
	l.conn = c
}

func (l *link) status() (plane.Link, bool) {
	l.shown.Lock()
	defer l.shown.Unlock()
	if l.conn == nil {
		return plane.Link{}, false
	}
	return l.report(), true
}

func (l *link) report() plane.Link {
	counters := l.way.count()
	return plane.Link{
		ID: l.conn.ID, Payload: l.conn.Payload, MTU: l.conn.MTU, Path: l.way.path(),
		Client:   plane.PortStatus{Port: l.conn.Client, Counters: counters[0]},
		Endpoint: plane.PortStatus{Port: l.conn.Endpoint, Counters: counters[1]},
	}
}
