// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
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
	close()
	count() plane.Counters
}

// limited ends carry packets up to a size.
type limited interface {
	// maxMTU is the largest MTU of a connection.
	maxMTU() int
}

// portKinds are the kinds of port that can be made, best first.
var portKinds = []struct {
	kind    plane.Kind
	payload plane.Payload // empty for any
}{
	{plane.KindKernel, ""},
	{plane.KindVXLAN, plane.Ethernet},
}

// open makes a port.
func (p *Plane) open(c *plane.Connection, port plane.Port) (end, error) {
	switch port := port.(type) {
	case plane.Kernel:
		return newKernel(p, c, port)
	case plane.VXLAN:
		return newVXLAN(p, c, port)
	case nil:
		return nil, errors.New("port is missing")
	}
	return nil, fmt.Errorf("port of kind %s: %w", port.Kind(), plane.ErrUnsupported)
}

// link is a connection by its id. Its lock is held for as long as Join or Leave
// take, so that each connection changes by itself.
type link struct {
	mu   sync.Mutex
	conn *plane.Connection // nil unless joined
	path string
	ends [2]end // client's and endpoint's
}

// minMTU is the least MTU that every IPv4 host accepts (RFC 791).
const minMTU = 576

// Join makes both ports and lets packets flow between them.
func (p *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	l, err := p.link(c.ID)
	if err != nil {
		return plane.Link{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && same(l.conn, c) {
		return l.report(), nil
	}
	if l.conn != nil {
		l.tearDown()
	}
	if err := l.join(ctx, p, c); err != nil {
		p.forget(c.ID, l)
		return plane.Link{}, fmt.Errorf("join %s and %s: %w", c.Client, c.Endpoint, err)
	}
	return l.report(), nil
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
	l.tearDown()
	p.forget(id, l)
	return nil
}

// link returns the link of a connection, making it if it is not there.
func (p *Plane) link(id string) (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("embedded plane is closed")
	}
	l := p.links[id]
	if l == nil {
		l = new(link)
		p.links[id] = l
	}
	return l, nil
}

func (p *Plane) forget(id string, l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[id] == l {
		delete(p.links, id)
	}
}

// same tells whether two connections stand for the same link. The path to a
// namespace may differ.
func same(a, b *plane.Connection) bool {
	return a.Payload == b.Payload && a.MTU == b.MTU && samePort(a.Client, b.Client) && samePort(a.Endpoint, b.Endpoint)
}

func samePort(a, b plane.Port) bool {
	if ka, ok := a.(plane.Kernel); ok {
		if kb, ok := b.(plane.Kernel); ok && ka.Inode != 0 {
			ka.NetNS, kb.NetNS = "", ""
			return ka == kb
		}
	}
	return a == b
}

// join makes the ends and connects them, or leaves nothing.
func (l *link) join(ctx context.Context, p *Plane, c *plane.Connection) (err error) {
	conn := *c
	defer func() {
		if err != nil {
			l.tearDown()
		}
	}()
	if conn.MTU, err = p.mtu(c); err != nil {
		return err
	}
	for i, port := range []plane.Port{c.Client, c.Endpoint} {
		if l.ends[i], err = p.open(&conn, port); err != nil {
			l.ends[i] = nil
			return err
		}
	}
	for i := range l.ends {
		if err := l.ends[i].connect(ctx, l.ends[1-i]); err != nil {
			return err
		}
	}
	l.conn, l.path = &conn, "embedded"
	return nil
}

func (l *link) tearDown() {
	for _, e := range l.ends {
		if e != nil {
			e.disconnect()
		}
	}
	for i, e := range l.ends {
		if e != nil {
			e.close()
			l.ends[i] = nil
		}
	}
	l.conn = nil
}

// mtu decides the MTU of a connection.
func (p *Plane) mtu(c *plane.Connection) (int, error) {
	limit := plane.DefaultMTU
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		if v, ok := port.(plane.VXLAN); ok {
			limit = min(limit, vxlanMTU(p.uplink.MTU(), v.Remote))
		}
	}
	mtu := c.MTU
	if mtu == 0 {
		mtu = limit
	}
	switch {
	case mtu < minMTU:
		return 0, fmt.Errorf("MTU %d is less than %d", mtu, minMTU)
	case mtu > limit:
		return 0, fmt.Errorf("MTU %d does not fit into the tunnel: uplink %s with MTU %d leaves %d", mtu, p.uplink.Name(), p.uplink.MTU(), limit)
	}
	return mtu, nil
}

func (l *link) status() (plane.Link, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
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
