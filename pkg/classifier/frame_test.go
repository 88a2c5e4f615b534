// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// layer is one header of a frame. Lengths and types come from the payload unless
// a field overrides them.
type layer interface{ wrap(payload []byte) []byte }

// build stacks headers, outermost first.
func build(layers ...layer) []byte {
	var b []byte
	for _, l := range slices.Backward(layers) {
		b = l.wrap(b)
	}
	return b
}

const (
	typeIPv4    = 0x0800
	typeARP     = 0x0806
	typeVLAN    = 0x8100
	typeIPv6    = 0x86dd
	typeService = 0x88a8

	protoHopByHop    = 0
	protoICMP        = 1
	protoTCP         = 6
	protoUDP         = 17
	protoRouting     = 43
	protoFragment    = 44
	protoESP         = 50
	protoAH          = 51
	protoICMPv6      = 58
	protoNone        = 59
	protoDestination = 60
)

type bytesOf []byte

func (b bytesOf) wrap(payload []byte) []byte { return append(bytes.Clone(b), payload...) }

// octets is a payload of n bytes.
func octets(n int) bytesOf { return bytes.Repeat([]byte{0x5a}, n) }

type ethernet struct{ typ uint16 }

func (e ethernet) wrap(payload []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	return append(binary.BigEndian.AppendUint16(b, e.typ), payload...)
}

type tag struct{ control, typ uint16 }

func (t tag) wrap(payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, t.control)
	return append(binary.BigEndian.AppendUint16(b, t.typ), payload...)
}

type ipv4 struct {
	src, dst netip.Addr // default: client4, tunnel4
	proto    uint8      // default: UDP
	options  []byte
	id       uint16
	fragment uint16 // flags and offset as on the wire
	first    uint8  // version and header length as on the wire, default: right
	total    int    // default: right
}

func (h ipv4) wrap(payload []byte) []byte {
	b := make([]byte, 20, 20+len(h.options)+len(payload))
	b[0] = or(h.first, uint8(0x45+len(h.options)/4))
	binary.BigEndian.PutUint16(b[2:], uint16(or(h.total, 20+len(h.options)+len(payload))))
	binary.BigEndian.PutUint16(b[4:], h.id)
	binary.BigEndian.PutUint16(b[6:], h.fragment)
	b[8], b[9] = 64, or(h.proto, protoUDP)
	copy(b[12:], or(h.src, client4).AsSlice())
	copy(b[16:], or(h.dst, tunnel4).AsSlice())
	return append(append(b, h.options...), payload...)
}

type ipv6 struct {
	src, dst netip.Addr // default: client6, tunnel6
	next     uint8
	version  uint8 // default: 6
	payload  int   // default: right; below zero: 0
}

func (h ipv6) wrap(payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = or(h.version, 6) << 4
	binary.BigEndian.PutUint16(b[4:], uint16(max(0, or(h.payload, len(payload)))))
	b[6], b[7] = h.next, 64
	copy(b[8:], or(h.src, client6).AsSlice())
	copy(b[24:], or(h.dst, tunnel6).AsSlice())
	return append(b, payload...)
}

// extension is an IPv6 extension header of 8 + more bytes.
type extension struct {
	next   uint8
	length uint8
	left   uint8 // segments left, of a routing header
	more   int
}

func (h extension) wrap(payload []byte) []byte {
	b := make([]byte, 8+h.more, 8+h.more+len(payload))
	b[0], b[1], b[3] = h.next, h.length, h.left
	return append(b, payload...)
}

type fragment6 struct {
	next   uint8
	offset uint16 // with the flag for more, as on the wire
	id     uint32
}

func (h fragment6) wrap(payload []byte) []byte {
	b := []byte{h.next, 0}
	b = binary.BigEndian.AppendUint16(b, h.offset)
	return append(binary.BigEndian.AppendUint32(b, h.id), payload...)
}

type udp struct {
	dst    uint16
	length int // default: right; below zero: 0
}

func (h udp) wrap(payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, 40000)
	b = binary.BigEndian.AppendUint16(b, h.dst)
	b = binary.BigEndian.AppendUint16(b, uint16(max(0, or(h.length, 8+len(payload)))))
	return append(append(b, 0, 0), payload...)
}

type vxlan struct {
	vni   uint32
	flags uint8 // default: the VNI is valid
	low   uint8 // the reserved byte after the VNI
}

func (h vxlan) wrap(payload []byte) []byte {
	b := []byte{or(h.flags, 0x08), 0, 0, 0}
	return append(binary.BigEndian.AppendUint32(b, h.vni<<8|uint32(h.low)), payload...)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
