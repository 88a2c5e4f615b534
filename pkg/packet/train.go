// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
)

// A train is several UDP datagrams of a flow as one packet, of which the
// receiving kernel makes datagrams again before anybody sees them (GSOUDP; sockets
// with UDP_GRO get it whole, and know). It spares the way through the kernel for
// each of them. A train is only made of what cutting it gives back:
//
//   - checksums are there, and right. None at all would become one.
//   - All datagrams have the same size; a shorter one is the last. None is empty.
//   - Type of service, hop limit, flow label and DF are the same.
//   - Identifications of IPv4 count up by one, as segmentation will number them.
//     With DF they may also all be the same, as those of unconnected sockets are:
//     nobody may look at them then (RFC 6864, section 4.1).

// maxCars is how many datagrams a train may have: UDP_MAX_SEGMENTS, the least
// that it is in any kernel.
const maxCars = 64

// parseUDP is parseTransport of UDP.
func (s *segment) parseUDP(l4 []byte, trains bool) nature {
	if len(l4) < UDPLen {
		s.transport = 0
		return alone
	}
	if !trains {
		return alone
	}
	s.udp, s.start = true, s.transport+UDPLen
	// Without a checksum, without payload, or with options behind it (RFC 9868).
	if l4[6]|l4[7] == 0 || len(l4) == UDPLen || int(binary.BigEndian.Uint16(l4[4:])) != len(l4) {
		return bare
	}
	return datagram
}

func (c *Coalescer) addDatagram(i int, s *segment) {
	verified := s.verify()
	if at := c.find(s); at >= 0 {
		p := &c.packets[c.open[at]]
		if verified && p.Segments < maxCars && c.couples(p, s) {
			if n := c.join(p, i); n < p.size {
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
	p.size, p.udp = s.end-s.start, true
	c.grow()
}

// couples tells whether a datagram of the same flow can join a train.
func (c *Coalescer) couples(p *Packet, s *segment) bool {
	f := &c.segments[p.First]
	if !c.fits(p, s) {
		return false
	}
	a, b := f.bytes[f.network:], s.bytes[s.network:]
	if s.v6 {
		return bytes.Equal(a[:4], b[:4]) && a[7] == b[7]
	}
	if a[1] != b[1] || a[6] != b[6] || a[8] != b[8] {
		return false
	}
	first, id := binary.BigEndian.Uint16(a[4:]), binary.BigEndian.Uint16(b[4:])
	return id == first+uint16(p.Segments) || id == first && a[6]&0x40 != 0
}

// finishTrain writes the headers of a train. A datagram by itself stays as it is.
func (c *Coalescer) finishTrain(p *Packet) {
	if p.Segments == 1 {
		return
	}
	s := &c.segments[p.First]
	c.lengthen(p)
	udp := s.bytes[s.transport:]
	length := p.Len - s.transport
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	pseudoHeader(s.flow(), protoUDP, length).putPartial(udp[6:])
	p.Offload = Offload{
		Flags: NeedsChecksum, GSOType: GSOUDP, GSOSize: uint16(p.size), HeaderLen: uint16(s.start),
		CsumStart: uint16(s.transport), CsumOffset: 6,
	}
}
