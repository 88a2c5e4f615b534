// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum is an unfinished Internet checksum (RFC 1071): the ones' complement sum
// of 16-bit words as they lie in memory, so that no word is ever swapped. The
// zero value is the sum of nothing.
type Sum uint64

// Add adds bytes that lie at an even offset of what is summed.
func (s Sum) Add(b []byte) Sum {
	acc, carry := uint64(s), uint64(0)
	for len(b) >= 128 {
		w := b[:128:128]
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[0:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[8:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[16:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[24:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[32:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[40:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[48:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[56:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[64:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[72:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[80:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[88:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[96:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[104:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[112:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[120:]), carry)
		b = b[128:]
	}
	for len(b) >= 32 {
		w := b[:32:32]
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[0:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[8:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[16:]), carry)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(w[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		acc, carry = bits.Add64(acc, binary.NativeEndian.Uint64(last[:]), carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	return Sum(acc + carry)
}

// Word adds one 16-bit number.
func (s Sum) Word(v uint16) Sum {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	acc, carry := bits.Add64(uint64(s), uint64(binary.NativeEndian.Uint16(b[:])), 0)
	return Sum(acc + carry)
}

// fold is the sum in 16 bits, in the order of memory.
func (s Sum) fold() uint16 {
	v := uint64(s)
	v = v>>32 + v&0xffffffff
	v = v>>32 + v&0xffffffff
	v = v>>16 + v&0xffff
	v = v>>16 + v&0xffff
	return uint16(v)
}

// Valid tells whether the sum of something that includes its checksum is right.
func (s Sum) Valid() bool { return s.fold() == 0xffff }

// Put finishes the checksum and writes it to the start of b.
func (s Sum) Put(b []byte) { binary.NativeEndian.PutUint16(b, ^s.fold()) }

// putUDP is Put for UDP, where zero stands for no checksum.
func (s Sum) putUDP(b []byte) {
	v := ^s.fold()
	if v == 0 {
		v = 0xffff
	}
	binary.NativeEndian.PutUint16(b, v)
}

// putPartial writes the sum as it is, for somebody else to finish: what the
// kernel calls CHECKSUM_PARTIAL.
func (s Sum) putPartial(b []byte) { binary.NativeEndian.PutUint16(b, s.fold()) }

// unfinished tells whether b begins with the sum as putPartial writes it.
func (s Sum) unfinished(b []byte) bool { return binary.NativeEndian.Uint16(b) == s.fold() }

// pseudoHeader is the sum of addresses (source and destination end to end),
// protocol and length of the transport header and what follows.
func pseudoHeader(addrs []byte, proto uint8, length int) Sum {
	return Sum(0).Add(addrs).Word(uint16(proto)).Word(uint16(length))
}
