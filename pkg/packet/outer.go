// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// MaxOuterLen is the length of the longest Outer: Ethernet with two tags, IPv6,
// UDP and VXLAN.
const MaxOuterLen = EthernetLen + maxTags*TagLen + IPv6Len + UDPLen + VXLANLen

// Outer is the headers of a tunnel's packets in the underlay. They are written
// once, and for each packet copied and completed with what differs: lengths,
// source port and checksums.
type Outer struct {
	bytes   [MaxOuterLen]byte
	len     int
	network int
	udp     int
	// sum is that of the IPv4 header without its length, or of the pseudo
	// header of UDP over IPv6 without the length.
	sum Sum
}

// Underlay is what the headers of a tunnel are made from.
type Underlay struct {
	// Destination and Source are MAC addresses.
	Destination, Source [6]byte
	// Tags are the ids of VLAN tags, outermost first, at most two.
	Tags []uint16
	// Local and Remote are both IPv4 or both IPv6.
	Local, Remote netip.AddrPort
}

// NewVXLAN makes headers that end with a VXLAN header.
func NewVXLAN(u Underlay, vni uint32) Outer {
	o := NewUDP(u)
	h := o.bytes[o.len : o.len+VXLANLen]
	h[0] = vxlanHasVNI
	binary.BigEndian.PutUint32(h[4:], vni<<8)
	o.len += VXLANLen
	return o
}

// NewUDP makes headers that end with a UDP header.
func NewUDP(u Underlay) Outer {
	var o Outer
	b := o.bytes[:]
	copy(b, u.Destination[:])
	copy(b[6:], u.Source[:])
	at := 12
	for _, id := range u.Tags[:min(len(u.Tags), maxTags)] {
		binary.BigEndian.PutUint16(b[at:], typeVLAN)
		binary.BigEndian.PutUint16(b[at+2:], id&0xfff)
		at += TagLen
	}
	o.network = at + 2
	ip := b[o.network:]
	if local := u.Local.Addr().Unmap(); local.Is4() {
		binary.BigEndian.PutUint16(b[at:], typeIPv4)
		src, dst := local.As4(), u.Remote.Addr().Unmap().As4()
		ip[0] = 4<<4 | IPv4Len/4
		ip[6] = 0x40 // don't fragment; the identification may then be 0 (RFC 6864)
		ip[8], ip[9] = ttl, protoUDP
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
		o.sum = Sum(0).Add(ip[:IPv4Len])
		o.udp = o.network + IPv4Len
	} else {
		binary.BigEndian.PutUint16(b[at:], typeIPv6)
		src, dst := local.As16(), u.Remote.Addr().As16()
		ip[0] = 6 << 4
		ip[6], ip[7] = protoUDP, ttl
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		o.sum = pseudoHeader(ip[8:40], protoUDP, 0)
		o.udp = o.network + IPv6Len
	}
	binary.BigEndian.PutUint16(b[o.udp:], u.Local.Port())
	binary.BigEndian.PutUint16(b[o.udp+2:], u.Remote.Port())
	o.len = o.udp + UDPLen
	return o
}

// Len is the number of bytes that Stamp writes in front of a packet.
func (o *Outer) Len() int { return o.len }

// Overhead is what the headers add to a packet within the MTU of the underlay:
// all but Ethernet and its tags.
func (o *Outer) Overhead() int { return o.len - o.network }

// Stamp writes the headers over the first Len bytes of frame, in front of the
// packet that follows. A source port of 0 leaves that of the Underlay. The
// frame is at most 65535 bytes long.
//
// UDP over IPv4 goes without checksum (RFC 7348, section 5), over IPv6 with one.
func (o *Outer) Stamp(frame []byte, source uint16) {
	copy(frame, o.bytes[:o.len])
	ip, udp := frame[o.network:], frame[o.udp:]
	length := uint16(len(udp))
	if source != 0 {
		binary.BigEndian.PutUint16(udp, source)
	}
	binary.BigEndian.PutUint16(udp[4:], length)
	if o.udp-o.network == IPv4Len {
		binary.BigEndian.PutUint16(ip[2:], length+IPv4Len)
		o.sum.Word(length + IPv4Len).Put(ip[10:])
		return
	}
	binary.BigEndian.PutUint16(ip[4:], length)
	o.sum.Word(length).Add(udp).putUDP(udp[6:])
}
