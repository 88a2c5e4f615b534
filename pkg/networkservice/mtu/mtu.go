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
	// Fragments tells whether our plane fragments the outer packets of such
	// tunnels where they are longer than that.
	Fragments(tunnel plane.Kind) bool
}

// Overhead is how many bytes a tunnel adds to a packet on an underlay whose
// addresses are like remote, as the stock forwarder counts them: the peer computes
// the same, so both ends agree.
func Overhead(tunnel plane.Kind, remote netip.Addr) int {
	overhead := 60 // WireGuard: IPv4 20, UDP 8, data message 16, tag 16
	if tunnel == plane.KindVXLAN {
		overhead = 54 // IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 and one inner tag 4
	}
	if remote.Is6() && !remote.Is4In6() {
		overhead += 20
	}
	return overhead
}

// Ours is the MTU inside a tunnel over our uplink, as a mechanism tells it to the
// peer. It is 1280 at least if our plane fragments (plane.TunnelMTU).
func Ours(underlay Underlay, tunnel plane.Kind) uint32 {
	link, overhead := underlay.MTU(), Overhead(tunnel, underlay.Addr())
	if underlay.Fragments(tunnel) {
		return uint32(max(0, plane.TunnelMTU(link, overhead)))
	}
	return uint32(max(0, link-overhead))
}

// LimitToTunnel lowers the connection's MTU to ours, or to the one that the peer
// has put into the mechanism if that is less, as one that does not fragment does
// over a small underlay; a peer's of zero tells nothing. It returns ours.
func LimitToTunnel(conn *networkservice.Connection, underlay Underlay, tunnel plane.Kind, peers uint32) uint32 {
	ours := Ours(underlay, tunnel)
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
