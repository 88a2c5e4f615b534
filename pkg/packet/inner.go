// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"math/bits"
)

// network finds the network header of a packet: its offset and EtherType. Up
// to two VLAN tags are skipped. The type is 0 if the packet is too short.
func network(b []byte, link Link) (offset int, etherType uint16) {
	if link == IP {
		if len(b) == 0 {
			return 0, 0
		}
		switch b[0] >> 4 {
		case 4:
			return 0, typeIPv4
		case 6:
			return 0, typeIPv6
		}
		return 0, 0
	}
	if len(b) < EthernetLen {
		return 0, 0
	}
	offset = EthernetLen
	etherType = binary.BigEndian.Uint16(b[12:])
	for tags := 0; etherType == typeVLAN || etherType == typeQinQ; tags++ {
		if tags == maxTags || len(b) < offset+TagLen {
			return 0, 0
		}
		etherType = binary.BigEndian.Uint16(b[offset+2:])
		offset += TagLen
	}
	return offset, etherType
}

// ports tells whether a protocol begins with source and destination port.
func ports(proto uint8) bool { return proto == protoTCP || proto == protoUDP }

// FlowHash is a number that packets of one flow have in common: of addresses,
// protocol and ports, or of what there is of them. Later fragments have no
// ports, so that all fragments go without.
func FlowHash(b []byte, link Link) uint32 {
	offset, etherType := network(b, link)
	h := b[offset:]
	switch {
	case etherType == typeIPv4 && len(h) >= IPv4Len:
		proto := h[9]
		v := mix(uint64(proto), binary.LittleEndian.Uint64(h[12:]))
		l4 := int(h[0]&15) * 4
		if ports(proto) && binary.BigEndian.Uint16(h[6:])&0x3fff == 0 && l4 >= IPv4Len && len(h) >= l4+4 {
			v = mix(v, uint64(binary.LittleEndian.Uint32(h[l4:])))
		}
		return stir(v)
	case etherType == typeIPv6 && len(h) >= IPv6Len:
		proto := h[6]
		v := mix(uint64(proto), binary.LittleEndian.Uint64(h[8:]))
		v = mix(v, binary.LittleEndian.Uint64(h[16:]))
		v = mix(v, binary.LittleEndian.Uint64(h[24:]))
		v = mix(v, binary.LittleEndian.Uint64(h[32:]))
		if ports(proto) && len(h) >= IPv6Len+4 {
			v = mix(v, uint64(binary.LittleEndian.Uint32(h[IPv6Len:])))
		}
		return stir(v)
	case link == Ethernet && len(b) >= EthernetLen:
		v := mix(uint64(binary.LittleEndian.Uint32(b[8:])), binary.LittleEndian.Uint64(b))
		return stir(v)
	}
	return 0
}

// mix stirs a word into a hash, by the upper and lower half of a product.
func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, v^0xd1b54a32d192ed03)
	return hi ^ lo
}

// stir ends a hash: each bit of what went in last reaches each bit of it.
func stir(v uint64) uint32 {
	return uint32(mix(v, v>>32) >> 32)
}

// SourcePort is the UDP source port for a flow, in the range that RFC 7348,
// section 5, recommends: 49152 to 65535.
func SourcePort(hash uint32) uint16 { return 0xc000 | uint16(hash>>18) }
