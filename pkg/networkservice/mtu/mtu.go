// SPDX-License-Identifier: Apache-2.0

// Package mtu lowers a connection's MTU to what its tunnel can carry.
package mtu

import (
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Underlay is what tunnels must know of the network that they cross.
type Underlay interface {
	// Addr is the tunnel address of this node.
	Addr() netip.Addr
	// MTU of the uplink in bytes.
	MTU() int
}

// Bytes that a tunnel adds to a packet on an underlay, as the stock forwarder
// counts them: the peer computes the same, so both ends agree. An underlay of
// IPv6 adds 20 more.
const (
	// VXLAN: IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 and one inner tag 4.
	VXLAN = 54
	// WireGuard: IPv4 20, UDP 8, data message 16, tag 16.
	WireGuard = 60

	ipv6Extra = 20
)

// Tunnel is the MTU inside a tunnel with the given overhead whose outer packets
// go to remote over a link of MTU link.
func Tunnel(link, overhead int, remote netip.Addr) int {
	if remote.Is6() && !remote.Is4In6() {
		overhead += ipv6Extra
	}
	return link - overhead
}

// Ours is the MTU inside a tunnel with the given overhead over our uplink, as a
// mechanism tells it to the peer.
func Ours(underlay Underlay, overhead int) uint32 {
	return uint32(max(0, Tunnel(underlay.MTU(), overhead, underlay.Addr())))
}

// LimitToTunnel lowers the connection's MTU to ours, or to the one that the peer
// has put into the mechanism if that is less; a peer's of zero tells nothing. It
// returns ours.
func LimitToTunnel(conn *networkservice.Connection, underlay Underlay, overhead int, peers uint32) uint32 {
	ours := Ours(underlay, overhead)
	limit := ours
	if peers != 0 {
		limit = min(limit, peers)
	}
	Limit(conn, int(limit))
	return ours
}

// Limit lowers the connection's MTU to limit; a connection that has none set
// counts as plane.DefaultMTU.
func Limit(conn *networkservice.Connection, limit int) {
	if conn.GetContext() == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	mtu := int(conn.GetContext().GetMTU())
	if mtu == 0 {
		mtu = plane.DefaultMTU
	}
	conn.GetContext().MTU = uint32(max(0, min(mtu, limit)))
}
