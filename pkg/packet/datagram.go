// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"net/netip"
)

// Reason says why a packet was dropped.
type Reason uint8

// The reasons for which ParseDatagram and ParseVXLAN refuse a frame.
const (
	// OK is no reason.
	OK Reason = iota
	// Short frames end within a header.
	Short
	// NotIP frames carry neither IPv4 nor IPv6.
	NotIP
	// NotUDP packets carry another protocol.
	NotUDP
	// Fragment: the frame has a part of a datagram, which is for Piece to read; one
	// that it refuses as well cannot be part of any.
	Fragment
	// BadHeader: version, header length or header checksum of IP is wrong.
	BadHeader
	// BadLength: the lengths of IP, UDP and frame contradict each other.
	BadLength
	// BadChecksum: the checksum of UDP is wrong. None at all is accepted, over
	// IPv6 too (RFC 6935 allows that to tunnels).
	BadChecksum
	// BadVXLAN: the VXLAN header has no VNI.
	BadVXLAN

	// Reasons is how many there are.
	Reasons
)

var reasonNames = [Reasons]string{"ok", "short", "not_ip", "not_udp", "fragment", "bad_header", "bad_length", "bad_checksum", "bad_vxlan"}

// String is the reason as metrics name it.
func (r Reason) String() string {
	if r >= Reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Addr is an IP address that can be compared and hashed fast; IPv4 is mapped
// into IPv6.
type Addr [16]byte

// AddrFrom converts an address; its zone is lost.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// Netip converts back.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Datagram is a UDP datagram in a frame of the underlay.
type Datagram struct {
	Source, Destination         Addr
	SourcePort, DestinationPort uint16
	// MAC is the Ethernet source of the frame.
	MAC [6]byte
	// Payload is the range of the payload in the frame.
	Start, End int
}

// ParseDatagram reads a frame with up to two VLAN tags, and verifies the
// lengths, the header checksum of IPv4 and the UDP checksum if there is one that
// is finished.
// Bytes behind the datagram (Ethernet padding) are left out.
//
// An unfinished checksum is what virtual links deliver from a kernel that
// leaves it to the device, and the device is none: it holds the sum of the
// pseudo header only.
//
// IPv6 extension headers other than hop-by-hop, routing and destination options
// are taken for another protocol.
func (d *Datagram) ParseDatagram(frame []byte) Reason {
	offset, etherType := network(frame, Ethernet)
	switch etherType {
	case typeIPv4:
		return d.parse4(frame, offset)
	case typeIPv6:
		return d.parse6(frame, offset)
	case 0:
		return Short
	}
	return NotIP
}

// mapped is what IPv4 addresses begin with as Addr.
var mapped = Addr{10: 0xff, 11: 0xff}

func (d *Datagram) parse4(frame []byte, offset int) Reason {
	ip := frame[offset:]
	if len(ip) < IPv4Len {
		return Short
	}
	headerLen, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || headerLen < IPv4Len {
		return BadHeader
	}
	if len(ip) < headerLen {
		return Short
	}
	if total < headerLen || total > len(ip) {
		return BadLength
	}
	if !Sum(0).Add(ip[:headerLen]).Valid() {
		return BadHeader
	}
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // more fragments, or an offset
		return Fragment
	}
	if ip[9] != protoUDP {
		return NotUDP
	}
	d.Source, d.Destination = mapped, mapped
	copy(d.Source[12:], ip[12:16])
	copy(d.Destination[12:], ip[16:20])
	return d.parseUDP(frame, offset+headerLen, offset+total, ip[12:20])
}

func (d *Datagram) parse6(frame []byte, offset int) Reason {
	ip := frame[offset:]
	if len(ip) < IPv6Len {
		return Short
	}
	if ip[0]>>4 != 6 {
		return BadHeader
	}
	total := IPv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	if total > len(ip) {
		return BadLength
	}
	next, at := ip[6], IPv6Len
	for range maxExtensions {
		switch next {
		case extHopByHop, extRouting, extDestination:
			if total < at+8 {
				return BadLength
			}
			next, at = ip[at], at+8+8*int(ip[at+1])
			if at > total {
				return BadLength
			}
			continue
		}
		break
	}
	switch next {
	case protoUDP:
	case extFragment:
		return Fragment
	default:
		return NotUDP
	}
	d.Source = Addr(ip[8:24])
	d.Destination = Addr(ip[24:40])
	return d.parseUDP(frame, offset+at, offset+total, ip[8:40])
}

// IPv6 extension headers (RFC 8200, section 4).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60

	maxExtensions = 6
)

func (d *Datagram) parseUDP(frame []byte, start, end int, addrs []byte) Reason {
	udp := frame[start:end]
	if len(udp) < UDPLen {
		return BadLength
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < UDPLen || length > len(udp) {
		return BadLength
	}
	udp = udp[:length]
	if udp[6]|udp[7] != 0 {
		pseudo := pseudoHeader(addrs, protoUDP, length)
		if !pseudo.unfinished(udp[6:]) && !pseudo.Add(udp).Valid() {
			return BadChecksum
		}
	}
	d.SourcePort, d.DestinationPort = binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])
	d.MAC = [6]byte(frame[6:12])
	d.Start, d.End = start+UDPLen, start+length
	return OK
}

// vxlanHasVNI is the I flag of RFC 7348. The other bits are reserved and
// ignored on receipt.
const vxlanHasVNI = 0x08

// ParseVXLAN reads the VXLAN header that a UDP payload begins with. The frame
// inside follows it.
func ParseVXLAN(payload []byte) (vni uint32, r Reason) {
	if len(payload) < VXLANLen+EthernetLen {
		return 0, Short
	}
	if payload[0]&vxlanHasVNI == 0 {
		return 0, BadVXLAN
	}
	return binary.BigEndian.Uint32(payload[4:]) >> 8, OK
}
