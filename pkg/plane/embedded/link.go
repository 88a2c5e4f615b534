// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
)

// end is a port that was made. A kind of port is one file with a type that
// implements end, and a line in portKinds.
//
// Packets get from one end to the other by sink: an end that is none takes care
// of the way between the two itself.
type end interface {
	// connect begins to hand the other end what comes from the peer.
	connect(ctx context.Context, other end) error
	// disconnect ends that, if it was begun. When it returns, no worker uses
	// this end or the other one on its behalf.
	disconnect()
	// close frees what the end has. Both ends are disconnected before.
	close() error
	count() plane.Counters
}

// keeper is an end that can go on in a connection whose other port, or MTU,
// differs from before: interfaces in pods, so that the pod keeps its addresses
// when a tunnel moves.
type keeper interface {
	keep(c *plane.Connection) error
}

// pod is an end in a pod, which tunnels are joined to.
type pod interface {
	end
	sink
	keeper
}

var _, _ pod = (*kernelPort)(nil), (*memifPort)(nil)

// portKinds are the kinds of port that can be made, best first.
var portKinds = []struct {
	kind    plane.Kind
	payload plane.Payload // empty for any
}{
	{plane.KindMemif, ""},
	{plane.KindKernel, ""},
	{plane.KindVXLAN, plane.Ethernet},
	{plane.KindVLAN, plane.Ethernet},
	{plane.KindWireGuard, plane.IP},
}

// open makes a port.
func (p *Plane) open(c *plane.Connection, port plane.Port) (end, error) {
	switch port := port.(type) {
	case plane.Kernel:
		return newKernel(p, c, port)
	case plane.Memif:
		return newMemif(p, c, port)
	case plane.VXLAN:
		return newVXLAN(p, c, port)
	case plane.WireGuard:
		return newWireGuard(p, c, port)
	case plane.VLAN:
		return newVLAN(p, c, port)
	case nil:
		return nil, errors.New("port is missing")
	}
	return nil, fmt.Errorf("port of kind %s: %w", port.Kind(), plane.ErrUnsupported)
}

// link is a connection by its id. Its lock is held for as long as Join or Leave
// take, so that each connection changes by itself.
type link struct {
	mu        sync.Mutex
	forgotten bool
	// shown is held to change what the status tells, and to read it: Links need
	// not wait until a join is through.
	shown sync.Mutex
	conn  *plane.Connection // as decided by resolve; nil unless joined
	path  string
	ends  [2]end // client's and endpoint's
}

var errClosed = errors.New("embedded plane is closed")

// Join makes both ports and lets packets flow between them.
func (p *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	l, err := p.hold(c.ID)
	if err != nil {
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	defer l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.closing, func() { cancel(errClosed) })()
	if err := l.join(ctx, p, c); err != nil {
		err = errors.Join(err, l.tearDown())
		p.forget(c.ID, l)
		return plane.Link{}, fmt.Errorf("join connection %s: %w", c.ID, err)
	}
	joined, _ := l.status()
	return joined, nil
}

// Leave undoes Join.
func (p *Plane) Leave(_ context.Context, id string) error {
	p.mu.Lock()
	l := p.links[id]
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.tearDown()
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
			return nil, errClosed
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

// join makes the ends and connects them. Ends that can be kept are. If it
// fails, it leaves the rest to tearDown.
func (l *link) join(ctx context.Context, p *Plane, c *plane.Connection) error {
	conn := *c
	var err error
	if conn.MTU, err = tunnels.MTU(c, p.uplink.Name(), p.mtu); err != nil {
		return err
	}
	if l.conn != nil && tunnels.Same(l.conn, &conn) {
		return nil
	}
	if err := l.clear(&conn); err != nil {
		return err
	}
	if err := l.open(p, &conn); err != nil {
		return err
	}
	// Pods come last: what they send may pass the tunnel as soon as they are
	// connected.
	order := [2]int{0, 1}
	if _, pod := l.ends[0].(keeper); pod {
		order = [2]int{1, 0}
	}
	for _, i := range order {
		if err := l.ends[i].connect(ctx, l.ends[1-i]); err != nil {
			return err
		}
	}
	l.show(&conn)
	return nil
}

// clear closes the ends that do not fit a connection.
func (l *link) clear(c *plane.Connection) error {
	old := l.conn
	if old == nil {
		return nil
	}
	l.show(nil)
	l.disconnect()
	for i, ports := range [2][2]plane.Port{{old.Client, c.Client}, {old.Endpoint, c.Endpoint}} {
		if k, ok := l.ends[i].(keeper); ok && old.Payload == c.Payload && tunnels.SamePort(ports[0], ports[1]) && k.keep(c) == nil {
			continue
		}
		err := l.ends[i].close()
		l.ends[i] = nil
		if err != nil {
			return err
		}
	}
	return nil
}

// open makes the ends that are missing.
func (l *link) open(p *Plane, c *plane.Connection) (err error) {
	l.path = "embedded"
	a, local := c.Client.(plane.Kernel)
	b, both := c.Endpoint.(plane.Kernel)
	if local && both {
		if err := l.close(); err != nil {
			return err
		}
		l.path = "veth"
		l.ends, err = newLocal(p, c, a, b)
		return err
	}
	if ports, ok := p.direct(c.Client, c.Endpoint); ok {
		if err := l.close(); err != nil {
			return err
		}
		l.path = "direct memif"
		l.ends, err = newDirect(p, c, ports)
		return err
	}
	for i, port := range []plane.Port{c.Client, c.Endpoint} {
		if l.ends[i] != nil {
			continue
		}
		if l.ends[i], err = p.open(c, port); err != nil {
			l.ends[i] = nil
			return err
		}
	}
	return nil
}

// tearDown leaves nothing of a link.
func (l *link) tearDown() error {
	l.show(nil)
	l.disconnect()
	return l.close()
}

func (l *link) disconnect() {
	for _, e := range l.ends {
		if e != nil {
			e.disconnect()
		}
	}
}

func (l *link) close() error {
	var errs []error
	for i, e := range l.ends {
		if e != nil {
			errs = append(errs, e.close())
			l.ends[i] = nil
		}
	}
	return errors.Join(errs...)
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
	return plane.Link{
		ID: l.conn.ID, Payload: l.conn.Payload, MTU: l.conn.MTU, Path: l.path,
		Client:   plane.PortStatus{Port: l.conn.Client, Counters: l.ends[0].count()},
		Endpoint: plane.PortStatus{Port: l.conn.Endpoint, Counters: l.ends[1].count()},
	}
}
