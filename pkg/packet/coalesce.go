// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
)

// MaxBurst is the most packets that a Coalescer looks at together.
const MaxBurst = 128

// maxTrains is how many flows of a burst are put together at the same time.
const maxTrains = 16

// maxIPLen is the largest length that IPv4 can tell, and IPv6 of its payload.
const maxIPLen = 65535

// Coalescer puts the TCP segments of a burst together that follow each other
// in their flow, as the kernel's GRO would have, and UDP datagrams if it may
// (train.go). Only plain data is: no other flags than ACK and PSH, no IP options
// or extension headers, no fragments, and only with a right checksum, because the
// receiver will not look at it again.
//
// Packets of one flow keep their order. The zero value is ready for Reset.
type Coalescer struct {
	// Trains allows UDP datagrams to be put together. It is for receivers that
	// know GSOUDP, and is set before the first Add of a burst.
	Trains bool

	link     Link
	segments [MaxBurst]segment
	n        int
	packets  [MaxBurst]Packet
	count    int
	open     [maxTrains]int // packets that may still grow
	opened   int
}

// Packet is what comes out: one of the packets that were added, or several.
type Packet struct {
	// First and Last are numbers of added packets, counted from zero. Those in
	// between are found by Next.
	First, Last int
	// Segments is how many there are.
	Segments int
	// Len is the length in bytes.
	Len int
	// Offload is to be put in front.
	Offload Offload

	size int    // payload of all segments but the last
	next uint32 // the sequence number that goes on
	psh  bool
	udp  bool
}

// segment is what Add found out about a packet.
type segment struct {
	bytes      []byte
	network    int
	transport  int
	start, end int // of the payload
	next       int // segment of the same Packet
	v6, udp    bool
}

// Reset begins a burst.
func (c *Coalescer) Reset(link Link) { c.link, c.n, c.count, c.opened = link, 0, 0, 0 }

// Full tells whether the burst can take no more.
func (c *Coalescer) Full() bool { return c.n == MaxBurst }

// Packets is the number of packets that came out. It is final after Finish.
func (c *Coalescer) Packets() int { return c.count }

// Packet is one of them.
func (c *Coalescer) Packet(i int) *Packet { return &c.packets[i] }

// Next is the number of the added packet that follows number i in its Packet.
func (c *Coalescer) Next(i int) int { return c.segments[i].next }

// Bytes is what added packet i contributes: all of a first one, the payload of
// the others.
func (c *Coalescer) Bytes(p *Packet, i int) []byte {
	s := &c.segments[i]
	switch {
	case i != p.First:
		return s.bytes[s.start:s.end]
	case p.Segments > 1:
		return s.bytes[:s.end]
	}
	return s.bytes
}

// What may be done with a packet.
type nature uint8

const (
	// alone: of no flow that is put together.
	alone nature = iota
	// barrier: perhaps of one, but of which cannot be told.
	barrier
	// bare: of one, but not plain data.
	bare
	// data: plain TCP data.
	data
	// datagram: plain UDP data.
	datagram
)

// Add adds a packet, whose bytes are the Coalescer's until the burst is done
// with. It may change headers.
func (c *Coalescer) Add(b []byte) {
	i := c.n
	c.n++
	s := &c.segments[i]
	*s = segment{bytes: b}
	switch s.parse(c.link, c.Trains) {
	case alone:
		c.single(i)
	case barrier:
		c.opened = 0
		c.single(i)
	case bare:
		if at := c.find(s); at >= 0 {
			c.shut(at)
		}
		c.single(i)
	case data:
		c.addData(i, s)
	case datagram:
		c.addDatagram(i, s)
	}
}

func (c *Coalescer) addData(i int, s *segment) {
	tcp := s.bytes[s.transport:s.end]
	verified := s.verify()
	psh := tcp[13]&tcpPSH != 0
	if at := c.find(s); at >= 0 {
		p := &c.packets[c.open[at]]
		if verified && c.follows(p, s) {
			n := c.join(p, i)
			p.next += uint32(n)
			p.psh = psh
			if psh || n < p.size {
				c.shut(at)
			}
			return
		}
		c.shut(at)
	}
	p := c.single(i)
	if !verified {
		return
	}
	p.size = s.end - s.start
	p.next = binary.BigEndian.Uint32(tcp[4:]) + uint32(p.size)
	if !psh {
		c.grow()
	}
}

// join puts segment i at the end of a packet, and returns its payload.
func (c *Coalescer) join(p *Packet, i int) int {
	n := c.segments[i].end - c.segments[i].start
	c.segments[p.Last].next = i
	p.Last = i
	p.Segments++
	p.Len += n
	return n
}

// grow lets the last packet grow.
func (c *Coalescer) grow() {
	if c.opened == maxTrains {
		c.shut(0)
	}
	c.open[c.opened] = c.count - 1
	c.opened++
}

// single makes a Packet of one.
func (c *Coalescer) single(i int) *Packet {
	p := &c.packets[c.count]
	c.count++
	s := &c.segments[i]
	*p = Packet{First: i, Last: i, Segments: 1, Len: len(s.bytes)}
	if offset := s.unfinished(); offset > 0 {
		p.Offload = Offload{Flags: NeedsChecksum, CsumStart: uint16(s.transport), CsumOffset: uint16(offset)}
	}
	return p
}

// shut ends the growth of an open packet, keeping the order of the others.
func (c *Coalescer) shut(at int) {
	copy(c.open[at:c.opened], c.open[at+1:c.opened])
	c.opened--
}

// find returns which open packet is of the segment's flow, or -1.
func (c *Coalescer) find(s *segment) int {
	for at, i := range c.open[:c.opened] {
		o := &c.segments[c.packets[i].First]
		if o.v6 == s.v6 && o.udp == s.udp && bytes.Equal(o.flow(), s.flow()) && bytes.Equal(o.ports(), s.ports()) {
			return at
		}
	}
	return -1
}

// flow is the addresses, ports the ports of a segment.
func (s *segment) flow() []byte {
	if s.v6 {
		return s.bytes[s.network+8 : s.network+40]
	}
	return s.bytes[s.network+12 : s.network+20]
}

func (s *segment) ports() []byte { return s.bytes[s.transport : s.transport+4] }

// follows tells whether a segment of the same flow continues a packet, and all
// headers but lengths, sequence and identification are the same.
func (c *Coalescer) follows(p *Packet, s *segment) bool {
	f := &c.segments[p.First]
	if !c.fits(p, s) {
		return false
	}
	a, b := f.bytes[:f.start], s.bytes[:s.start]
	ipA, ipB := a[f.network:], b[s.network:]
	if s.v6 {
		if !bytes.Equal(ipA[:4], ipB[:4]) || ipA[7] != ipB[7] {
			return false
		}
	} else {
		if ipA[1] != ipB[1] || ipA[6] != ipB[6] || ipA[8] != ipB[8] {
			return false
		}
		// Without DF the identification counts: fragments go by it.
		if ipB[6]&0x40 == 0 && binary.BigEndian.Uint16(ipB[4:]) != binary.BigEndian.Uint16(ipA[4:])+uint16(p.Segments) {
			return false
		}
	}
	tcpA, tcpB := a[f.transport:], b[s.transport:]
	return binary.BigEndian.Uint32(tcpB[4:]) == p.next &&
		bytes.Equal(tcpA[8:13], tcpB[8:13]) && // acknowledgement and header length
		tcpA[13]|tcpPSH == tcpB[13]|tcpPSH &&
		bytes.Equal(tcpA[14:16], tcpB[14:16]) && // window
		bytes.Equal(tcpA[tcpLen:], tcpB[tcpLen:])
}

// fits tells whether a segment has its headers where a packet has them, the same
// link header, and not too much payload.
func (c *Coalescer) fits(p *Packet, s *segment) bool {
	f := &c.segments[p.First]
	n := s.end - s.start
	return f.network == s.network && f.start == s.start && n <= p.size && p.Len+n-f.network <= maxIPLen &&
		bytes.Equal(f.bytes[:f.network], s.bytes[:s.network])
}

// parse finds the headers and what may be done with the packet.
func (s *segment) parse(link Link, trains bool) nature {
	offset, etherType := network(s.bytes, link)
	s.network = offset
	ip := s.bytes[offset:]
	var length int
	switch etherType {
	case typeIPv4:
		if len(ip) < IPv4Len || ip[0]>>4 != 4 {
			return alone
		}
		length = int(binary.BigEndian.Uint16(ip[2:]))
		headerLen := int(ip[0]&15) * 4
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return barrier
		}
		if !ports(ip[9]) {
			return alone
		}
		if headerLen != IPv4Len || length > len(ip) || length < IPv4Len {
			return barrier
		}
		s.transport = offset + IPv4Len
		s.end = offset + length
		return s.parseTransport(ip[9], trains)
	case typeIPv6:
		if len(ip) < IPv6Len || ip[0]>>4 != 6 {
			return alone
		}
		length = IPv6Len + int(binary.BigEndian.Uint16(ip[4:]))
		switch ip[6] {
		case extHopByHop, extRouting, extDestination, extFragment:
			return barrier
		case protoTCP, protoUDP:
		default:
			return alone
		}
		if length > len(ip) {
			return barrier
		}
		s.v6 = true
		s.transport = offset + IPv6Len
		s.end = offset + length
		return s.parseTransport(ip[6], trains)
	}
	return alone
}

func (s *segment) parseTransport(proto uint8, trains bool) nature {
	l4 := s.bytes[s.transport:s.end]
	if proto == protoUDP {
		return s.parseUDP(l4, trains)
	}
	if len(l4) < tcpLen {
		s.transport = 0
		return barrier
	}
	headerLen := int(l4[12]>>4) * 4
	s.start = s.transport + headerLen
	if headerLen < tcpLen || s.start >= s.end || l4[13]&^tcpPSH != tcpACK || l4[12]&0x0f != 0 {
		return bare
	}
	return data
}

// protocol of a segment whose transport header was found.
func (s *segment) protocol() uint8 {
	if s.v6 {
		return s.bytes[s.network+6]
	}
	return s.bytes[s.network+9]
}

// unfinished returns the offset of a checksum in the transport header that
// holds the sum of the pseudo header only, or 0. See ParseDatagram.
func (s *segment) unfinished() int {
	if s.transport == 0 {
		return 0
	}
	proto, offset := s.protocol(), 16
	if proto == protoUDP {
		offset = 6
	}
	l4 := s.bytes[s.transport:s.end]
	if !pseudoHeader(s.flow(), proto, len(l4)).unfinished(l4[offset:]) {
		return 0
	}
	return offset
}

// verify tells whether the checksums of IP and of the transport header are
// right, or the latter is unfinished.
func (s *segment) verify() bool {
	if !s.v6 && !Sum(0).Add(s.bytes[s.network:s.transport]).Valid() {
		return false
	}
	l4 := s.bytes[s.transport:s.end]
	offset := 16
	if s.udp {
		offset = 6
	}
	pseudo := pseudoHeader(s.flow(), s.protocol(), len(l4))
	return pseudo.unfinished(l4[offset:]) || pseudo.Add(l4).Valid()
}

// Finish writes the headers of the packets that were put together.
func (c *Coalescer) Finish() {
	for i := range c.packets[:c.count] {
		switch p := &c.packets[i]; {
		case p.udp:
			c.finishTrain(p)
		case p.size > 0:
			c.finish(p)
		}
	}
}

func (c *Coalescer) finish(p *Packet) {
	s := &c.segments[p.First]
	if p.Segments > 1 {
		c.lengthen(p)
		p.Offload.GSOType = GSOTCP4
		if s.v6 {
			p.Offload.GSOType = GSOTCP6
		}
		p.Offload.GSOSize = uint16(p.size)
		p.Offload.HeaderLen = uint16(s.start)
	}
	tcp := s.bytes[s.transport:]
	if p.psh {
		tcp[13] |= tcpPSH
	}
	total := s.end - s.transport
	if p.Segments > 1 {
		total = p.Len - s.transport
	}
	pseudoHeader(s.flow(), protoTCP, total).putPartial(tcp[16:])
	p.Offload.Flags, p.Offload.CsumStart, p.Offload.CsumOffset = NeedsChecksum, uint16(s.transport), 16
}

// lengthen takes Ethernet's padding of the first segment off a packet of several,
// and tells IP the length of all.
func (c *Coalescer) lengthen(p *Packet) {
	s := &c.segments[p.First]
	p.Len -= len(s.bytes) - s.end
	ip := s.bytes[s.network:]
	length := p.Len - s.network
	if s.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length-IPv6Len))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	clear(ip[10:12])
	Sum(0).Add(ip[:IPv4Len]).Put(ip[10:])
}
