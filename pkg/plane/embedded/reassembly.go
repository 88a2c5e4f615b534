// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// Fragments are anybody's who can reach a tunnel's port, and so this is for hostile
// ones: memory and time are bounded and no lengths are believed. The oldest datagram
// makes room for the newest; those that overlap are dropped with all that belongs
// to them (RFC 5722), also over IPv4.

const (
	// maxPartial is how many datagrams may be incomplete at a time.
	maxPartial = 64
	// maxPieces is into how many fragments a datagram may be cut. Our peers send
	// two; maxWhole has no room for more pieces of the least length than this.
	maxPieces = 4
	// piecePatience is how long a datagram may be incomplete. Its fragments leave
	// the peer one right after the other; the identification of IPv4 comes again
	// after 65536 datagrams, and must find nothing of its predecessor's (RFC 4963).
	piecePatience = 500 * time.Millisecond
	// maxPieceHeaders is how long the headers of a datagram may be.
	maxPieceHeaders = 192
)

// reassembly is the datagrams that are incomplete. Workers share it: a network
// card that looks at ports may deliver the fragments of a datagram, of which only
// the first has some, to different queues.
type reassembly struct {
	mu      sync.Mutex
	partial map[packet.PieceOf]*partial
	ring    []partial // nil before the first fragment
	next    int       // in ring: free, or the oldest
}

// partial is an incomplete datagram: the headers and payload of its first fragment
// and the payload of others, where they belong.
type partial struct {
	of     packet.PieceOf
	began  time.Time // zero if it is free
	broken bool      // what is still to come is dropped as well

	first  packet.Piece
	pieces [maxPieces]span
	n      int
	have   int // bytes of payload
	total  int // bytes of payload; zero until the last fragment is there
	buf    [maxPieceHeaders + maxWhole]byte
}

// span is a range of the payload.
type span struct{ from, to int }

// drops are counters by reason.
type drops [dropReasons]atomic.Uint64

// add takes a fragment. If its datagram is complete, its frame, as it would have
// come in one piece, is written to the start of dst, which has room for maxWhole
// bytes, and n is its length. Otherwise n is 0 and frame may be forgotten.
// What is dropped is counted: fragments that are refused, and once each datagram
// that stayed incomplete.
func (t *reassembly) add(frame, dst []byte, now time.Time, dropped *drops) (n int) {
	var p packet.Piece
	if r := p.Parse(frame); r != packet.OK {
		dropped[r].Add(1)
		return 0
	}
	headers, end := p.HeaderLen(), p.Offset+p.End-p.Start
	if headers > maxPieceHeaders || headers+end > maxWhole {
		dropped[dropSplit].Add(1)
		return 0
	}
	if p.Offset == 0 && p.Last { // alone, and whoever else has its id (RFC 6946)
		n = copy(dst, frame[:headers])
		n += copy(dst[n:], frame[p.Start:p.End])
		p.Restore(dst[:n])
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.find(p.Of, now, dropped)
	if d.broken || !d.put(&p, frame) {
		d.broken = true
		dropped[dropOverlap].Add(1)
		return 0
	}
	if d.have != d.total {
		return 0
	}
	n = d.restore(dst)
	t.free(d)
	if n == 0 {
		dropped[dropSplit].Add(1)
	}
	return n
}

// find returns the datagram that a fragment is of, which may be a fresh one in
// place of the oldest.
func (t *reassembly) find(of packet.PieceOf, now time.Time, dropped *drops) *partial {
	if d := t.partial[of]; d != nil {
		if now.Sub(d.began) <= piecePatience {
			return d
		}
		t.expire(d, dropped)
	}
	if t.ring == nil {
		t.ring, t.partial = make([]partial, maxPartial), make(map[packet.PieceOf]*partial, maxPartial)
	}
	d := &t.ring[t.next]
	t.next = (t.next + 1) % maxPartial
	switch {
	case d.began.IsZero():
	case now.Sub(d.began) > piecePatience:
		t.expire(d, dropped)
	default:
		if !d.broken {
			dropped[dropCrowded].Add(1)
		}
		t.free(d)
	}
	d.of, d.began = of, now
	t.partial[of] = d
	return d
}

// sweep expires what has waited too long.
func (t *reassembly) sweep(now time.Time, dropped *drops) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.partial {
		if now.Sub(d.began) > piecePatience {
			t.expire(d, dropped)
		}
	}
}

// expire frees a datagram that was not completed in time.
func (t *reassembly) expire(d *partial, dropped *drops) {
	if !d.broken {
		dropped[dropIncomplete].Add(1)
	}
	t.free(d)
}

func (t *reassembly) free(d *partial) {
	delete(t.partial, d.of)
	d.began, d.broken, d.n, d.have, d.total = time.Time{}, false, 0, 0, 0
}

// put copies a fragment to where it belongs. It returns false if it contradicts
// what is there.
func (d *partial) put(p *packet.Piece, frame []byte) bool {
	s := span{p.Offset, p.Offset + p.End - p.Start}
	if d.n == maxPieces || d.total != 0 && (p.Last || s.to > d.total) {
		return false
	}
	for _, o := range d.pieces[:d.n] {
		if s.from < o.to && o.from < s.to || p.Last && o.to > s.to {
			return false
		}
	}
	if p.Offset == 0 {
		d.first = *p
		copy(d.buf[maxPieceHeaders-p.HeaderLen():], frame[:p.HeaderLen()])
	}
	copy(d.buf[maxPieceHeaders+s.from:], frame[p.Start:p.End])
	d.pieces[d.n] = s
	d.n, d.have = d.n+1, d.have+s.to-s.from
	if p.Last {
		d.total = s.to
	}
	return true
}

// restore writes the complete datagram's frame to dst, and returns its length; 0 if
// it is too long, with the headers of the first fragment.
func (d *partial) restore(dst []byte) int {
	frame := d.buf[maxPieceHeaders-d.first.HeaderLen() : maxPieceHeaders+d.total]
	if len(frame) > maxWhole {
		return 0
	}
	copy(dst, frame)
	d.first.Restore(dst[:len(frame)])
	return len(frame)
}
