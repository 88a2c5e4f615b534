// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// solicit asks a neighbour for its hardware address: at the address we know, or
// at all addresses of the link.
func (u *Uplink) solicit(n *neighbour, everyone bool) {
	if u.packets < 0 {
		return
	}
	src := u.link.Load().mac
	var frame []byte
	switch {
	case n.addr.Is4() && everyone:
		frame = arpRequest(src, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, u.addr, n.addr)
	case n.addr.Is4():
		frame = arpRequest(src, n.mac, u.addr, n.addr)
	case u.addr.Is4(): // an IPv6 router of IPv4 routes: the kernel knows an address to ask from
		u.ask(n)
		return
	case everyone:
		group := solicitedNode(n.addr)
		frame = neighbourSolicitation(src, multicastMAC(group), u.addr, group, n.addr)
	default:
		frame = neighbourSolicitation(src, n.mac, u.addr, n.addr, n.addr)
	}
	to := &unix.SockaddrLinklayer{Ifindex: u.place.link.Attrs().Index, Protocol: binary.NativeEndian.Uint16(frame[12:14])}
	if err := unix.Sendto(u.packets, frame, unix.MSG_DONTWAIT, to); err != nil && u.link.Load().up {
		u.log("ask neighbour %s on %s: %v", n.addr, u.LinkName(), err)
	}
}

// arpRequest is a whole frame (RFC 826). A request to one host alone is a
// "unicast poll" (RFC 1122 section 2.3.2.1).
func arpRequest(src, dst [6]byte, from, target netip.Addr) []byte {
	sender, wanted := from.As4(), target.As4()
	b := make([]byte, 0, 42)
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	b = append(b, 0x08, 0x06)   // ARP
	b = append(b, 0, 1, 8, 0)   // Ethernet, IPv4
	b = append(b, 6, 4, 0, 1)   // lengths of the addresses; request
	b = append(b, src[:]...)    // sender
	b = append(b, sender[:]...) //
	b = append(b, make([]byte, 6)...)
	return append(b, wanted[:]...)
}

// neighbourSolicitation is a whole frame (RFC 4861 section 4.3).
func neighbourSolicitation(src, dst [6]byte, from, to, target netip.Addr) []byte {
	sender, receiver, wanted := from.As16(), to.As16(), target.As16()
	message := []byte{135, 0, 0, 0, 0, 0, 0, 0}
	message = append(message, wanted[:]...)
	message = append(message, 1, 1) // option: source link-layer address
	message = append(message, src[:]...)

	pseudo := append(append([]byte{}, sender[:]...), receiver[:]...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))

	b := make([]byte, 0, 14+40+len(message))
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	b = append(b, 0x86, 0xdd)
	b = append(b, 0x60, 0, 0, 0, 0, byte(len(message)), unix.IPPROTO_ICMPV6, 255) // hop limit as RFC 4861 demands
	b = append(b, sender[:]...)
	b = append(b, receiver[:]...)
	return append(b, message...)
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode is the multicast group that an address listens to (RFC 4291
// section 2.7.1), multicastMAC the Ethernet group of it (RFC 2464 section 7).
func solicitedNode(a netip.Addr) netip.Addr {
	group, low := netip.MustParseAddr("ff02::1:ff00:0").As16(), a.As16()
	copy(group[13:], low[13:])
	return netip.AddrFrom16(group)
}

func multicastMAC(group netip.Addr) [6]byte {
	low := group.As16()
	return [6]byte{0x33, 0x33, low[12], low[13], low[14], low[15]}
}
