// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// lentFrames is how many UMEM frames a worker lends to senders on other
// goroutines.
const lentFrames = 256

// errUplinkBusy says that the uplink is down, or the plane closing.
var errUplinkBusy = errors.New("the uplink takes no packets")

// outbox is how other goroutines send through a worker: it lends them UMEM
// frames, they leave them filled, and it puts them onto its ring. Both sides
// hold the lock once per burst, for as long as it takes to copy addresses; the
// worker only if there is something. Senders wait when all frames are in use.
type outbox struct {
	mu     sync.Mutex
	freed  sync.Cond
	free   []uint64
	ready  []xsk.Desc
	wanted bool // a sender waits
	shut   bool // nobody is to wait

	// news: there is something for the worker to do.
	news atomic.Bool
	// asleep: the worker has to be woken for it.
	asleep atomic.Bool

	taken [lentFrames]xsk.Desc // of the worker
	addrs [lentFrames]uint64   // of the worker
	users int                  // of the worker: who may send
	lent  int                  // of the worker: frames that are free, ready, or with a sender
}

func (o *outbox) init() {
	o.freed.L = &o.mu
	o.free = make([]uint64, 0, lentFrames)
	o.ready = make([]xsk.Desc, 0, lentFrames)
}

// borrow waits for free frames and returns how many it has put into addrs.
func (w *worker) borrow(addrs []uint64) (int, error) {
	o := &w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.free) == 0 {
		w.notify()
		if o.shut {
			return 0, errUplinkBusy
		}
		o.wanted = true
		o.freed.Wait()
	}
	n := min(len(addrs), len(o.free))
	rest := len(o.free) - n
	copy(addrs, o.free[rest:])
	o.free = o.free[:rest]
	return n, nil
}

// post leaves filled frames for the worker to send.
func (w *worker) post(descs []xsk.Desc) {
	o := &w.out
	o.mu.Lock()
	o.ready = append(o.ready, descs...) // never more than were lent
	o.mu.Unlock()
	w.notify()
}

// notify has the worker look into the outbox.
func (w *worker) notify() {
	if !w.out.news.Swap(true) && w.out.asleep.Load() {
		w.poll.wake()
	}
}

// collect sends what was left in the outbox, and lends frames anew.
func (w *worker) collect() int {
	o := &w.out
	if !o.news.Load() {
		return 0
	}
	o.news.Store(false)
	o.mu.Lock()
	n := copy(o.taken[:], o.ready)
	o.ready = o.ready[:0]
	o.mu.Unlock()
	o.lent -= n
	if n > 0 {
		sent := w.sock.Transmit(o.taken[:n])
		w.kick()
		if sent < n {
			sent += w.sock.Transmit(o.taken[sent:n])
			w.drops[dropUplink].Add(uint64(n - sent))
			for _, d := range o.taken[sent:n] {
				w.give(d.Addr)
			}
		}
	}
	w.lend()
	return n
}

// lend fills the outbox up with free frames.
func (w *worker) lend() {
	o := &w.out
	if o.users == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n := w.sock.Alloc(o.addrs[:lentFrames-o.lent])
	o.lent += n
	o.free = append(o.free, o.addrs[:n]...)
	o.shut = w.tx.down
	switch {
	case !o.wanted:
	case len(o.free) > 0 || o.shut:
		o.wanted = false
		o.freed.Broadcast()
	default:
		o.news.Store(true) // look again in the next turn
	}
}

// enlist allows one more user to send through the worker. retire takes that
// back; the frames come home with the last.
func (w *worker) enlist() {
	w.do(func() {
		w.out.users++
		w.lend()
	})
}

func (w *worker) retire() {
	w.do(func() {
		if w.out.users--; w.out.users == 0 {
			w.reclaim()
		}
	})
}

// reclaim takes all frames back. Senders that wait get an error.
func (w *worker) reclaim() {
	o := &w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	w.sock.Free(o.free)
	for _, d := range o.ready {
		w.give(d.Addr)
	}
	o.lent -= len(o.free) + len(o.ready) // the rest comes home by post
	o.free, o.ready, o.shut, o.wanted = o.free[:0], o.ready[:0], true, false
	o.freed.Broadcast()
}
