// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"sync"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
)

// To a memif, a burst at a time:
//
//  1. send cuts what a pod's kernel has left whole and finishes checksums: a
//     memif's peer expects packets that are ready for the wire.
//  2. put copies the packets from where they lie into the peer's buffers, by the
//     ring that the worker uses, and signals the peer if it sleeps.
//  3. What the ring has no room for is lost.

// memifTx is a ring that packets leave by. Each worker has its own, if the peer
// has made enough; else the lock has them take turns, a burst each. The lock is
// also what the end of a connection waits for.
type memifTx struct {
	mu    sync.Mutex
	queue *memif.TxQueue // nil when the connection has ended
	_     [112]byte
}

// memifAnswers limits the answers of one worker.
type memifAnswers struct {
	tun.Answers
	_ [64]byte
}

func (m *memifPort) openTx(c *memif.Conn) {
	if len(c.Tx()) == 0 {
		return
	}
	rings := make([]memifTx, len(c.Tx()))
	for i, q := range c.Tx() {
		rings[i].queue = q
	}
	m.tx.Store(&rings)
}

// closeTx returns when nobody uses the rings any more.
func (m *memifPort) closeTx() {
	rings := m.tx.Swap(nil)
	if rings == nil {
		return
	}
	for i := range *rings {
		r := &(*rings)[i]
		r.mu.Lock()
		r.queue = nil
		r.mu.Unlock()
	}
}

// put sends packets, or parts of packets, by one of the rings, chosen by a number
// of the sender. It returns how many were taken.
func (m *memifPort) put(sender int, packets []memif.Packet) int {
	rings := m.tx.Load()
	if rings == nil {
		return 0
	}
	r := &(*rings)[sender%len(*rings)]
	r.mu.Lock()
	defer r.mu.Unlock() // also when packets are views of another memif's memory, and it goes
	if r.queue == nil {
		return 0
	}
	return r.queue.Send(packets)
}

// lost counts packets that were not taken.
func (m *memifPort) lost(worker int, packets []memif.Packet) {
	n := 0
	for i := range packets {
		if !packets[i].Next {
			n++
		}
	}
	m.dropped[worker].Dropped(n)
}

// send sends a burst.
func (m *memifPort) send(w *worker, burst []frame) {
	out, n := w.leaving[:], 0
	for i := range burst {
		f := &burst[i]
		switch {
		case f.offload.GSOType != packet.GSONone:
			m.flush(w, out[:n])
			n = 0
			m.split(w, f)
		case f.offload.Flags&packet.NeedsChecksum != 0:
			b := w.spill.join(f)
			if !f.offload.FinishChecksum(b) {
				m.dropped[w.id].Dropped(1)
				continue
			}
			out[n] = memif.Packet{Data: b}
			n++
		default:
			out[n] = memif.Packet{Data: f.bytes(), Next: len(f.more) > 0}
			n++
			if len(f.more) > 0 { // the last one
				out[n] = memif.Packet{Data: f.more}
				n++
			}
		}
	}
	m.flush(w, out[:n])
}

func (m *memifPort) flush(w *worker, packets []memif.Packet) {
	if len(packets) == 0 {
		return
	}
	if n := m.put(w.id, packets); n < len(packets) {
		m.lost(w.id, packets[n:])
	}
}

// split sends a large packet in segments.
func (m *memifPort) split(w *worker, f *frame) {
	s := &w.segment
	if !s.Start(&f.offload, m.link, f.bytes(), f.more, min(m.limit, len(w.segments))) {
		m.dropped[w.id].Dropped(1)
		return
	}
	for s.Left() {
		n, used := 0, 0
		for s.Left() && n < burstSize && len(w.segments)-used >= m.limit {
			length := s.Next(w.segments[used:])
			w.leaving[n] = memif.Packet{Data: w.segments[used : used+length]}
			used += length
			n++
		}
		m.flush(w, w.leaving[:n])
	}
}
