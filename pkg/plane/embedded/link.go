// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/links"
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

// link is what a connection is made of.
type link struct {
	plane *Plane
	path  string
	ends  [2]end // client's and endpoint's
}

// noLinks is the set that the plane begins with.
func (p *Plane) noLinks() *links.Set[*link] {
	return links.New(func() *link { return &link{plane: p} }, func(c *plane.Connection) (int, error) {
		return tunnels.MTU(c, p.uplink.Name(), p.mtu, tunnels.VXLANMTU)
	})
}

// Join makes the ends and connects them. Ends that can be kept are.
func (l *link) Join(ctx context.Context, old, c *plane.Connection) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.plane.closing, func() { cancel(links.ErrClosed) })()
	if old != nil {
		if err := l.clear(old, c); err != nil {
			return err
		}
	}
	if err := l.open(c); err != nil {
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
	return nil
}

// clear closes the ends that do not fit a connection.
func (l *link) clear(old, c *plane.Connection) error {
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
func (l *link) open(c *plane.Connection) (err error) {
	p := l.plane
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

// TearDown leaves nothing of the link: packets need this process.
func (l *link) TearDown(bool) error {
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

// Report tells of the connection that is joined.
func (l *link) Report(c *plane.Connection) plane.Link {
	return plane.Link{
		ID: c.ID, Payload: c.Payload, MTU: c.MTU, Path: l.path,
		Client:   plane.PortStatus{Port: c.Client, Counters: l.ends[0].count()},
		Endpoint: plane.PortStatus{Port: c.Endpoint, Counters: l.ends[1].count()},
	}
}
