// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// A packet on its way to the ring:
//
//  1. take gives a free UMEM frame, out of a stock that Alloc fills up.
//  2. Somebody fills it, and leaves it with queue.
//  3. push moves what was queued onto the TX ring, when the queue is full and at
//     the end of a turn (flush).
//  4. kick has the kernel send what is on the ring. In copy mode that is where
//     the time goes.
//
// The kernel gives the frame back by the COMPLETION ring, and Alloc finds it there.

// txState is what a worker is about to send.
type txState struct {
	stock [burstSize]uint64 // free UMEM frames
	free  int
	descs [burstSize]xsk.Desc
	n     int
	down  bool // the uplink was down, or gone, at the last Kick
}

// take returns a free UMEM frame for a packet to be sent, or false if there is
// none.
func (w *worker) take() (uint64, bool) {
	tx := &w.tx
	if tx.free == 0 {
		if tx.free = w.sock.Alloc(tx.stock[:]); tx.free == 0 {
			w.push()
			w.kick()
			if tx.free = w.sock.Alloc(tx.stock[:]); tx.free == 0 {
				return noFrame, false
			}
		}
	}
	tx.free--
	return tx.stock[tx.free], true
}

// give takes back what take returned.
func (w *worker) give(addr uint64) {
	tx := &w.tx
	if tx.free == len(tx.stock) {
		w.sock.Free([]uint64{addr})
		return
	}
	tx.stock[tx.free] = addr
	tx.free++
}

// queue leaves a packet to be sent, and the UMEM frame that it lies in. It
// returns false if the uplink takes no more; the frame is free then.
func (w *worker) queue(addr uint64, start, length int) bool {
	tx := &w.tx
	if tx.n == len(tx.descs) {
		w.push()
		if tx.n == len(tx.descs) {
			w.drops[dropUplink].Add(1)
			w.give(addr)
			return false
		}
	}
	tx.descs[tx.n] = xsk.Desc{Addr: addr + uint64(start), Len: uint32(length)}
	tx.n++
	return true
}

// push moves what was queued onto the TX ring.
func (w *worker) push() {
	tx := &w.tx
	taken := w.sock.Transmit(tx.descs[:tx.n])
	if taken < tx.n {
		w.kick()
		taken += w.sock.Transmit(tx.descs[taken:tx.n])
	}
	if taken > 0 {
		tx.n = copy(tx.descs[:], tx.descs[taken:tx.n])
	}
}

// flush sends what was queued, and lets the driver use recycled frames.
func (w *worker) flush() {
	if w.tx.n > 0 {
		w.push()
	}
	w.kick()
}

// kick tells the kernel about the rings if it asks for that.
func (w *worker) kick() {
	w.tx.down = w.sock.Kick() != nil
}

// release gives all frames back to the socket.
func (t *txState) release(s *xsk.Socket) {
	s.Free(t.stock[:t.free])
	for _, d := range t.descs[:t.n] {
		s.Free([]uint64{d.Addr})
	}
	t.free, t.n = 0, 0
}
