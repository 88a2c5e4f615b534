// SPDX-License-Identifier: Apache-2.0

package packet

import "encoding/binary"

// Where a tunnel's packets are longer than the MTU of the underlay, they leave in
// fragments (RFC 791, section 3.2; RFC 8200, section 4.5), and are put together
// from them.

const (
	// fragmentLen is the length of the fragment header of IPv6.
	fragmentLen = 8

	offset4    = 0x1fff // in units of 8 bytes
	more4      = 0x2000
	offset6    = 0xfff8 // in bytes
	more6      = 0x0001
	minPiece   = 512
	pieceUnits = 8
)

// Fragment writes one fragment of whole, a stamped frame, to the start of dst. at
// is where it begins within the IP payload: 0 for the first, and next for the one
// that follows; next is 0 behind the last. No fragment is longer than mtu, without
// Ethernet; id, of which IPv4 has room for the lower half, is the same in all of
// them and differs from that of other datagrams on the way. It returns the
// fragment's length.
func (o *Outer) Fragment(dst, whole []byte, at, mtu int, id uint32) (n, next int) {
	payload, header, v6 := whole[o.udp:], o.udp, o.udp-o.network != IPv4Len
	if v6 {
		header += fragmentLen
	}
	room := max(pieceUnits, mtu-(header-o.network))
	end := len(payload)
	if end-at > room {
		end = at + room/pieceUnits*pieceUnits
		next = end
	}
	copy(dst, whole[:o.udp])
	n = header + copy(dst[header:], payload[at:end])
	if v6 {
		o.fragment6(dst[:n], at, next != 0, id)
	} else {
		o.fragment4(dst[:n], at, next != 0, uint16(id))
	}
	return n, next
}

// fragment4 makes the IPv4 header that of a fragment.
func (o *Outer) fragment4(frame []byte, at int, more bool, id uint16) {
	ip := frame[o.network:]
	place := uint16(at / pieceUnits) // and DF is clear
	if more {
		place |= more4
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], id)
	binary.BigEndian.PutUint16(ip[6:], place)
	clear(ip[10:12])
	Sum(0).Add(ip[:IPv4Len]).Put(ip[10:])
}

// fragment6 writes the fragment header and has the IPv6 header announce it.
func (o *Outer) fragment6(frame []byte, at int, more bool, id uint32) {
	ip, h := frame[o.network:], frame[o.udp:o.udp+fragmentLen]
	place := uint16(at)
	if more {
		place |= more6
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-IPv6Len))
	ip[6] = extFragment
	h[0], h[1] = protoUDP, 0
	binary.BigEndian.PutUint16(h[2:], place)
	binary.BigEndian.PutUint32(h[4:], id)
}

// PieceOf is what the fragments of one datagram have in common.
type PieceOf struct {
	Source, Destination Addr
	ID                  uint32
	Protocol            uint8
	V6                  bool
}

// Piece is a fragment of a datagram in a frame of the underlay.
type Piece struct {
	Of PieceOf
	// Offset is where the payload belongs in that of the datagram, in bytes.
	Offset int
	// Last: the datagram ends with this piece.
	Last bool
	// Start and End are the range of the payload in the frame.
	Start, End int

	network int // offset of the IP header
	points  int // offset of the number that announces the fragment header of IPv6
}

// Parse reads a frame of which ParseDatagram says Fragment, and has verified the
// IP header.
//
// Refused as Fragment are pieces without payload; those with pieces to follow that
// are no multiple of 8 bytes long, or shorter than 512: the shortest MTU of an
// IPv4 host, 576, leaves as much behind the longest header; and those that end
// beyond the longest IP packet.
func (p *Piece) Parse(frame []byte) Reason {
	offset, etherType := network(frame, Ethernet)
	p.network = offset
	if etherType == typeIPv4 {
		p.parse4(frame)
	} else if !p.parse6(frame) {
		return Fragment
	}
	size := p.End - p.Start
	switch {
	case p.Of.Protocol != protoUDP:
		return NotUDP
	case size <= 0 || p.Offset+size > maxIPLen:
		return Fragment
	case !p.Last && (size%pieceUnits != 0 || size < minPiece):
		return Fragment
	}
	return OK
}

func (p *Piece) parse4(frame []byte) {
	ip := frame[p.network:]
	place := binary.BigEndian.Uint16(ip[6:])
	p.Offset, p.Last = int(place&offset4)*pieceUnits, place&more4 == 0
	p.Start, p.End = p.network+int(ip[0]&15)*4, p.network+int(binary.BigEndian.Uint16(ip[2:]))
	p.Of = PieceOf{Source: mapped, Destination: mapped, ID: uint32(binary.BigEndian.Uint16(ip[4:])), Protocol: ip[9]}
	copy(p.Of.Source[12:], ip[12:16])
	copy(p.Of.Destination[12:], ip[16:20])
}

// parse6 returns false if the packet ends within its fragment header.
func (p *Piece) parse6(frame []byte) bool {
	ip := frame[p.network:]
	p.points = p.network + 6
	at, end := p.network+IPv6Len, p.network+IPv6Len+int(binary.BigEndian.Uint16(ip[4:]))
	for frame[p.points] != extFragment {
		p.points, at = at, at+8+8*int(frame[at+1])
	}
	p.Start, p.End = at+fragmentLen, end
	if p.Start > end {
		return false
	}
	h := frame[at:p.Start]
	place := binary.BigEndian.Uint16(h[2:])
	p.Offset, p.Last = int(place&offset6), place&more6 == 0
	p.Of = PieceOf{Source: Addr(ip[8:24]), Destination: Addr(ip[24:40]), ID: binary.BigEndian.Uint32(h[4:]), Protocol: h[0], V6: true}
	return true
}

// HeaderLen is how many bytes at the start of the piece's frame are headers that
// the whole datagram has as well.
func (p *Piece) HeaderLen() int {
	if p.Of.V6 {
		return p.Start - fragmentLen
	}
	return p.Start
}

// Restore makes a frame one that was never fragmented: it begins with the first
// HeaderLen bytes of the frame of p, the datagram's first piece, and goes on with
// the payload of all of them.
func (p *Piece) Restore(frame []byte) {
	ip := frame[p.network:]
	if p.Of.V6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-IPv6Len))
		frame[p.points] = p.Of.Protocol
		return
	}
	ip = ip[:p.Start-p.network]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(frame)-p.network))
	clear(ip[6:8])
	clear(ip[10:12])
	Sum(0).Add(ip).Put(ip[10:])
}
