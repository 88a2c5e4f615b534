// SPDX-License-Identifier: Apache-2.0

// Package tunnels is what planes have to know about the tunnels between nodes:
// which of them can be, and how much fits into one.
package tunnels

import (
	"fmt"
	"net/netip"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// minMTU is the least MTU that every IPv4 host accepts (RFC 791).
const minMTU = 576

// CheckVXLAN finds out whether a connection with this payload can have this end.
func CheckVXLAN(payload plane.Payload, v plane.VXLAN) error {
	switch {
	case payload != plane.Ethernet:
		return fmt.Errorf("VXLAN carries Ethernet frames, not payload %q: %w", payload, plane.ErrUnsupported)
	case !v.Local.IsValid() || !v.Remote.IsValid():
		return fmt.Errorf("%s: tunnel address is missing", v)
	case v.Local.Unmap().Is4() != v.Remote.Unmap().Is4():
		return fmt.Errorf("%s: local address %s is of another family", v, v.Local)
	case v.VNI >= 1<<24:
		return fmt.Errorf("%s: VNI has more than 24 bits", v)
	case v.LocalPort == 0 || v.RemotePort == 0:
		return fmt.Errorf("%s: UDP port is missing", v)
	}
	return nil
}

// CheckWireGuard finds out whether a connection with this payload can have this
// end.
func CheckWireGuard(payload plane.Payload, w plane.WireGuard) error {
	switch {
	case payload != plane.IP:
		return fmt.Errorf("WireGuard carries IP packets, not payload %q: %w", payload, plane.ErrUnsupported)
	case !w.Local.IsValid() || !w.Remote.IsValid() || w.Local.Port() == 0 || w.Remote.Port() == 0:
		return fmt.Errorf("%s: tunnel address or UDP port is missing", w)
	case w.Local.Addr().Unmap().Is4() != w.Remote.Addr().Unmap().Is4():
		return fmt.Errorf("%s: local address %s is of another family", w, w.Local.Addr())
	}
	return nil
}

// VXLANMTU is the largest MTU of a connection over VXLAN, on an uplink with the
// given one, where outer packets are fragmented if need be (plane.TunnelMTU). A
// frame inside may have a tag beyond it.
func VXLANMTU(mtu int, remote netip.Addr) int {
	overhead := mtu - WholeVXLANMTU(mtu, remote)
	return plane.TunnelMTU(mtu, overhead+packet.TagLen) + packet.TagLen
}

// WholeVXLANMTU is VXLANMTU where no packet is fragmented.
func WholeVXLANMTU(mtu int, remote netip.Addr) int {
	return mtu - ipLen(remote) - packet.UDPLen - packet.VXLANLen - packet.EthernetLen
}

// WireGuardLen is what WireGuard adds to a packet: 16 bytes of header and 16 of
// authentication.
const WireGuardLen = 32

// WireGuardMTU is the largest MTU of a connection over WireGuard, where outer
// packets are fragmented if need be (plane.TunnelMTU).
func WireGuardMTU(mtu int, remote netip.Addr) int {
	return plane.TunnelMTU(mtu, ipLen(remote)+packet.UDPLen+WireGuardLen)
}

func ipLen(a netip.Addr) int {
	if a.Unmap().Is4() {
		return packet.IPv4Len
	}
	return packet.IPv6Len
}

// MTU decides the MTU of a connection whose tunnels, if any, leave by an uplink
// with the given name and MTU. vxlan is VXLANMTU or WholeVXLANMTU.
func MTU(c *plane.Connection, uplink string, uplinkMTU int, vxlan func(mtu int, remote netip.Addr) int) (int, error) {
	limit := plane.DefaultMTU
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		switch port := port.(type) {
		case plane.VXLAN:
			limit = min(limit, vxlan(uplinkMTU, port.Remote))
		case plane.WireGuard:
			limit = min(limit, WireGuardMTU(uplinkMTU, port.Remote.Addr()))
		case plane.VLAN:
			limit = min(limit, uplinkMTU)
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
		return 0, fmt.Errorf("MTU %d does not fit into the tunnel: uplink %s with MTU %d leaves %d", mtu, uplink, uplinkMTU, limit)
	}
	return mtu, nil
}

// Same tells whether two connections stand for the same link. The path to a
// namespace may differ.
func Same(a, b *plane.Connection) bool {
	return a.Payload == b.Payload && a.MTU == b.MTU && SamePort(a.Client, b.Client) && SamePort(a.Endpoint, b.Endpoint)
}

// SamePort is Same for one end.
func SamePort(a, b plane.Port) bool { return withoutPath(a) == withoutPath(b) }

// withoutPath is a port without the path to a namespace that is identified.
func withoutPath(p plane.Port) plane.Port {
	switch p := p.(type) {
	case plane.Kernel:
		if p.Inode != 0 {
			p.NetNS = ""
		}
		return p
	case plane.Memif:
		if p.Inode != 0 {
			p.NetNS = ""
		}
		return p
	}
	return p
}
