// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// MaxHeaderLen is the longest that the headers of a packet to be segmented may
// be, from Ethernet to TCP.
const MaxHeaderLen = 256

// TCP flags.
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// Segmenter cuts a large TCP packet, or a train of UDP datagrams, into the
// packets that go onto the wire, as the kernel would have done without
// segmentation offload. The zero value is ready for Start.
type Segmenter struct {
	header      [MaxHeaderLen]byte
	headerLen   int
	network     int // offset of the IP header
	transport   int // offset of the TCP or UDP header
	v6, udp     bool
	tooBig      bool // why Start failed
	size        int  // payload of a segment
	first, rest []byte
	total, done int
	id          uint16
	seq         uint32
	addrs       Sum // of the pseudo header without length
	ipSum       Sum // of the IPv4 header without length, id and checksum
	flags       byte
}

// Start takes a packet whose Offload names a GSO type. The packet may come in
// two pieces, all headers in the first. It returns false if the headers
// contradict each other, leave no payload, or would make segments of more than
// limit bytes.
//
// The pieces are read until the last segment was written.
func (s *Segmenter) Start(o *Offload, link Link, first, rest []byte, limit int) bool {
	offset, etherType := network(first, link)
	s.network, s.transport = offset, int(o.CsumStart)
	s.size, s.tooBig = int(o.GSOSize), false
	s.total, s.done = 0, 0
	if s.size == 0 || o.Flags&NeedsChecksum == 0 {
		return false
	}
	h := first[offset:]
	switch etherType {
	case typeIPv4:
		s.v6 = false
		if len(h) < IPv4Len || h[0]>>4 != 4 || s.transport != offset+int(h[0]&15)*4 || s.transport < offset+IPv4Len {
			return false
		}
	case typeIPv6:
		s.v6 = true
		if len(h) < IPv6Len || s.transport < offset+IPv6Len {
			return false
		}
	default:
		return false
	}
	var proto uint8
	switch o.GSOType &^ GSOECN {
	case GSOTCP4, GSOTCP6:
		if len(first) < s.transport+tcpLen || (o.GSOType&^GSOECN == GSOTCP6) != s.v6 {
			return false
		}
		s.udp, proto = false, protoTCP
		words := int(first[s.transport+12] >> 4)
		if words < tcpLen/4 {
			return false
		}
		s.headerLen = s.transport + 4*words
	case GSOUDP:
		s.udp, proto = true, protoUDP
		s.headerLen = s.transport + UDPLen
	default:
		return false
	}
	if s.headerLen > MaxHeaderLen || s.headerLen > len(first) {
		return false
	}
	if s.tooBig = s.headerLen+s.size > limit; s.tooBig {
		return false
	}
	if s.total = len(first) + len(rest) - s.headerLen; s.total == 0 {
		return false
	}
	s.first, s.rest, s.done = first[s.headerLen:], rest, 0
	copy(s.header[:], first[:s.headerLen])
	s.prepare(proto)
	return true
}

// prepare sums what stays the same in all segments.
func (s *Segmenter) prepare(proto uint8) {
	ip, l4 := s.header[s.network:s.transport], s.header[s.transport:s.headerLen]
	if s.v6 {
		s.addrs = pseudoHeader(ip[8:40], proto, 0)
	} else {
		s.addrs = pseudoHeader(ip[12:20], proto, 0)
		s.id = binary.BigEndian.Uint16(ip[4:])
		clear(ip[2:6])
		clear(ip[10:12])
		s.ipSum = Sum(0).Add(ip)
	}
	if s.udp {
		clear(l4[6:8])
		return
	}
	s.seq, s.flags = binary.BigEndian.Uint32(l4[4:]), l4[13]
	clear(l4[16:18])
}

// TooBig tells whether Start failed because of the limit.
func (s *Segmenter) TooBig() bool { return s.tooBig }

// Left tells whether there is another segment.
func (s *Segmenter) Left() bool { return s.done < s.total }

// Next writes the next segment to the start of dst, which has room for the
// limit given to Start, and returns its length. For the first segment dst may
// be where the packet itself begins.
func (s *Segmenter) Next(dst []byte) int {
	n := min(s.size, s.total-s.done)
	length := s.headerLen + n
	payload := dst[s.headerLen:length]
	if s.done < len(s.first) {
		if from := s.first[s.done:]; &from[0] != &payload[0] {
			k := copy(payload, from)
			copy(payload[k:], s.rest)
		} else if k := len(from); k < n {
			copy(payload[k:], s.rest)
		}
	} else {
		copy(payload, s.rest[s.done-len(s.first):])
	}
	s.stamp(dst[:length], n)
	s.done += n
	return length
}

// stamp writes the headers in front of n bytes of payload.
func (s *Segmenter) stamp(segment []byte, n int) {
	copy(segment, s.header[:s.headerLen])
	ip, l4 := segment[s.network:], segment[s.transport:]
	if s.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-IPv6Len))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], s.id)
		s.ipSum.Word(uint16(len(ip))).Word(s.id).Put(ip[10:])
		s.id++
	}
	sum := s.addrs.Word(uint16(len(l4)))
	if s.udp {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		sum.Add(l4).putUDP(l4[6:])
		return
	}
	flags := s.flags
	if s.done > 0 {
		flags &^= tcpCWR
	}
	if s.done+n < s.total {
		flags &^= tcpFIN | tcpPSH
	}
	l4[13] = flags
	binary.BigEndian.PutUint32(l4[4:], s.seq+uint32(s.done))
	sum.Add(l4).Put(l4[16:])
}
