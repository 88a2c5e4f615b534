// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// MaxTooBigLen is the length of the longest answer of TooBig.
const MaxTooBigLen = EthernetLen + maxTags*TagLen + maxError6

// An ICMP error quotes as much of the packet as fits into the MTU that every
// host accepts (RFC 1812, section 4.3.2.3; RFC 4443, section 3.2).
const (
	maxError4 = 576
	maxError6 = 1280
)

// TooBig writes the answer to a packet that is too big into dst: ICMP
// "fragmentation needed" (RFC 1191) or ICMPv6 "packet too big" (RFC 4443) with
// the MTU for IP that limit, the largest length of a packet on this link, leaves.
// It comes from where the packet was to go. IPv4 packets without DF are answered
// as well: nobody here will fragment them.
//
// It returns the length of the answer, 0 if the packet is one that must not be
// answered. dst has room for MaxTooBigLen.
func TooBig(dst, packet []byte, link Link, limit int) int {
	offset, etherType := network(packet, link)
	if etherType == 0 || link == Ethernet && packet[0]&1 != 0 {
		return 0
	}
	ip, mtu := packet[offset:], limit-offset
	n := 0
	switch etherType {
	case typeIPv4:
		n = tooBig4(dst[offset:], ip, mtu)
	case typeIPv6:
		n = tooBig6(dst[offset:], ip, mtu)
	}
	if n == 0 {
		return 0
	}
	if link == Ethernet {
		copy(dst, packet[6:12])
		copy(dst[6:], packet[:6])
		copy(dst[12:offset], packet[12:offset])
	}
	return offset + n
}

func tooBig4(dst, ip []byte, mtu int) int {
	if len(ip) < IPv4Len || ip[0]>>4 != 4 || mtu < 68 {
		return 0
	}
	headerLen := int(ip[0]&15) * 4
	if headerLen < IPv4Len || len(ip) < headerLen+8 {
		return 0
	}
	switch src, to := ip[12:16], ip[16:20]; {
	case binary.BigEndian.Uint16(ip[6:])&0x1fff != 0: // not the first fragment
		return 0
	case src[0] == 0 || src[0] >= 224 || to[0] >= 224: // no host
		return 0
	case ip[9] == protoICMP && !query4(ip[headerLen]):
		return 0
	}
	quote := ip[:min(len(ip), maxError4-IPv4Len-icmpLen)]
	n := IPv4Len + icmpLen + len(quote)
	clear(dst[:IPv4Len+icmpLen])
	dst[0] = 4<<4 | IPv4Len/4
	dst[1] = 0xc0 // internetwork control (RFC 1812, section 4.3.2.5)
	binary.BigEndian.PutUint16(dst[2:], uint16(n))
	dst[8], dst[9] = ttl, protoICMP
	copy(dst[12:], ip[16:20])
	copy(dst[16:], ip[12:16])
	Sum(0).Add(dst[:IPv4Len]).Put(dst[10:])
	icmp := dst[IPv4Len:n]
	icmp[0], icmp[1] = 3, 4
	binary.BigEndian.PutUint16(icmp[6:], uint16(min(mtu, maxIPLen)))
	copy(icmp[icmpLen:], quote)
	Sum(0).Add(icmp).Put(icmp[2:])
	return n
}

// query4 tells ICMP queries and their answers from errors.
func query4(kind byte) bool {
	switch kind {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18:
		return true
	}
	return false
}

func tooBig6(dst, ip []byte, mtu int) int {
	if len(ip) < IPv6Len || ip[0]>>4 != 6 {
		return 0
	}
	src := Addr(ip[8:24])
	switch {
	case src == Addr{} || src[0] == 0xff:
		return 0
	case ip[6] == protoICMP6 && (len(ip) <= IPv6Len || ip[IPv6Len] < 128): // an error
		return 0
	case ip[24] == 0xff: // whom would the answer come from?
		return 0
	}
	quote := ip[:min(len(ip), maxError6-IPv6Len-icmpLen)]
	n := IPv6Len + icmpLen + len(quote)
	clear(dst[:IPv6Len+icmpLen])
	dst[0] = 6 << 4
	binary.BigEndian.PutUint16(dst[4:], uint16(n-IPv6Len))
	dst[6], dst[7] = protoICMP6, ttl
	copy(dst[8:], ip[24:40])
	copy(dst[24:], ip[8:24])
	icmp := dst[IPv6Len:n]
	icmp[0] = 2
	binary.BigEndian.PutUint32(icmp[4:], uint32(mtu))
	copy(icmp[icmpLen:], quote)
	pseudoHeader(dst[8:40], protoICMP6, len(icmp)).Add(icmp).Put(icmp[2:])
	return n
}
