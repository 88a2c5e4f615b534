// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/links"
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

// link is what a connection is made of.
type link struct {
	plane  *Plane
	way    way      // nil if there is none
	claims []string // see Plane.claim
}

// noLinks is the set that the plane begins with.
func (p *Plane) noLinks() *links.Set[*link] {
	return links.New(func() *link { return &link{plane: p} }, func(c *plane.Connection) (int, error) {
		return tunnels.MTU(c, p.uplink.LinkName(), p.uplink.MTU(), tunnels.WholeVXLANMTU)
	})
}

// Join makes the way.
func (l *link) Join(ctx context.Context, _, c *plane.Connection) error {
	if err := l.TearDown(false); err != nil {
		return err
	}
	var err error
	if l.way, err = l.plane.open(ctx, l, c); err != nil {
		l.way = nil
	}
	return err
}

// TearDown leaves nothing of a link in this process, and nothing at all unless
// its devices are to be kept.
func (l *link) TearDown(keep bool) error {
	var err error
	switch {
	case l.way == nil:
	case keep:
		err = l.way.release()
	default:
		err = l.way.close()
	}
	l.way = nil
	l.plane.disclaim(l)
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

// Report tells of the connection that is joined.
func (l *link) Report(c *plane.Connection) plane.Link {
	counters := l.way.count()
	return plane.Link{
		ID: c.ID, Payload: c.Payload, MTU: c.MTU, Path: l.way.path(),
		Client:   plane.PortStatus{Port: c.Client, Counters: counters[0]},
		Endpoint: plane.PortStatus{Port: c.Endpoint, Counters: counters[1]},
	}
}
