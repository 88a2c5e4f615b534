// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"net/netip"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

// hub is where the WireGuard tunnels of one local UDP port meet.
type hub struct {
	*wireguard.Hub
	local netip.AddrPort
	users int // guarded by Plane.tables
}

// hubKey is a hub's address as received packets have it.
type hubKey struct {
	addr packet.Addr
	port uint16
}

func keyOf(local netip.AddrPort) hubKey {
	return hubKey{packet.AddrFrom(local.Addr()), local.Port()}
}

// openHub returns the hub of a local port, making it for the first tunnel.
func (p *Plane) openHub(local netip.AddrPort) (*hub, error) {
	if err := p.fault("hub"); err != nil {
		return nil, err
	}
	p.tables.Lock()
	defer p.tables.Unlock()
	t := p.table.Load()
	if h := t.hubs[keyOf(local)]; h != nil {
		h.users++
		return h, nil
	}
	h := &hub{local: local, users: 1, Hub: wireguard.NewHub(transport{p}, wireguard.HubConfig{
		Log: func(format string, args ...any) { p.logf(format, args...) },
	})}
	c := t.clone()
	c.hubs[keyOf(local)] = h
	p.table.Store(c)
	return h, nil
}

func (p *Plane) closeHub(h *hub) {
	p.tables.Lock()
	h.users--
	last := h.users == 0
	if last {
		c := p.table.Load().clone()
		delete(c.hubs, keyOf(h.local))
		p.table.Store(c)
	}
	p.tables.Unlock()
	if last {
		p.settle()
		h.Close()
	}
}

// post is a run of datagrams from one remote to one hub.
type post struct {
	hub       *hub
	from      packet.Addr
	port      uint16
	datagrams [burstSize][]byte
	n         int
}

// add adds a datagram to the run, after giving away the run before if this one
// is of another.
func (p *post) add(h *hub, d *packet.Datagram, payload []byte) {
	if p.n > 0 && (p.hub != h || p.port != d.SourcePort || p.from != d.Source) {
		p.deliver()
	}
	p.hub, p.from, p.port = h, d.Source, d.SourcePort
	p.datagrams[p.n] = payload
	p.n++
}

// deliver gives the run to its hub, which copies it.
func (p *post) deliver() {
	if p.n > 0 {
		p.hub.Receive(netip.AddrPortFrom(p.from.Netip(), p.port), p.hub.local, p.datagrams[:p.n])
		p.n = 0
	}
}
