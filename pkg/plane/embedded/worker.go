// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// A worker's turn:
//
//  1. receive (receive.go): a burst from the uplink's queue is parsed, sorted by
//     tunnel, and given to the ports at the other ends.
//  2. collect (outbox.go): what WireGuard has left to be sent joins it.
//  3. pollRings (memif_rings.go): the rings of memifs that are busy. Each
//     gives a burst to the port at the other end.
//  4. poll: which other sources, pods' devices and idle rings, have something?
//  5. source.receive for each of them: a burst is read and given to the port at
//     the other end, a tunnel for one, which leaves it with queue.
//  6. flush: what was queued goes onto the TX ring, and the kernel is told.
//
// When some turns had nothing to do, it sleeps in epoll until there is. No
// stage allocates or waits, and none takes a lock but collect, which does so when
// there is something to collect, the sender to a memif (memif_send.go), once per
// burst, and whoever gets a fragment (reassembly.go), which also allocates the first
// time.

// linger is how long a worker goes on polling when it has had work, giving the
// processor to others between turns. A sleeper takes much longer to answer, and
// the next packet of a busy pod or peer comes soon.
const linger = 100 * time.Microsecond

// vain is how often on end no packet came in that time before a worker sleeps at
// once, until packets come closer together again. After a question the answer comes
// soon, and then nothing for long: once is not enough.
const vain = 2

// source is what a worker reads packets from when its descriptor is readable.
type source interface {
	// receive reads a burst and passes it on. It runs on the goroutine of w.
	receive(w *worker, events uint32)
}

// worker moves the packets of one queue of the uplink and of the ports that
// were given to it, on a thread of its own.
type worker struct {
	plane *Plane
	id    int
	sock  *xsk.Socket
	poll  *poller

	// sources by slot, nil where free. Changed on the worker's goroutine only.
	sources []source
	// rings are those of the sources that are looked at in each turn.
	rings []*memifRing
	// load is the number of sources, for spreading them.
	load int // guarded by Plane.loads

	rx    rxState
	tx    txState
	out   outbox
	burst [burstSize]frame // that a pod has sent
	spill spill            // the rest of a large packet of it
	iov   [burstSize + 1]unix.Iovec
	// views are what a memif's peer has sent, leaving what is sent to one, and
	// segments the pieces of a large packet on that way.
	views    [burstSize]memif.Packet
	leaving  [burstSize + 1]memif.Packet
	segments [72 << 10]byte
	drops    drops

	reply   [headroom + packet.MaxTooBigLen]byte
	replies [1]frame

	vlan     vlanState
	segment  packet.Segmenter
	coalesce packet.Coalescer

	// Functions to be run between two turns.
	mu      sync.Mutex
	calls   []func()
	called  atomic.Bool
	stopped bool
	done    chan struct{}
}

func newWorker(p *Plane, id int, sock *xsk.Socket) (*worker, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	if err := poll.add(sock.FD(), slotUplink); err != nil {
		poll.close()
		return nil, err
	}
	w := &worker{plane: p, id: id, sock: sock, poll: poll, done: make(chan struct{})}
	w.out.init()
	return w, nil
}

// run is the worker's goroutine.
func (w *worker) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.done)
	defer w.poll.close()
	var rest rest
	for {
		n := w.receive()
		n += w.collect()
		n += w.pollRings()
		if n == 0 && rest.over {
			n += w.serve(w.sleep())
		} else {
			n += w.serve(w.poll.poll())
		}
		w.flush()
		if n > 0 {
			rest.end(time.Now)
		} else if rest.turn(time.Now) {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
		if w.called.Load() && w.runCalls() {
			w.reclaim()
			w.tx.release(w.sock)
			return
		}
	}
}

// rest is what a worker does between packets: it lingers, and then sleeps. The
// zero value is that of one at work.
type rest struct {
	since time.Time // of the first turn without work; zero at work
	long  int       // rests on end that were longer than lingering
	over  bool      // the lingering: time to sleep
}

// turn is one without work. It tells whether to linger.
func (r *rest) turn(now func() time.Time) bool {
	switch t := now(); {
	case r.since.IsZero():
		r.since = t
		r.over = r.long >= vain
	case t.Sub(r.since) > linger:
		r.over = true
	}
	return !r.over
}

// end is a turn with work.
func (r *rest) end(now func() time.Time) {
	if r.since.IsZero() {
		return
	}
	if now().Sub(r.since) > linger {
		r.long++
	} else {
		r.long = 0
	}
	r.since, r.over = time.Time{}, false
}

// sleep returns when there is something to do.
func (w *worker) sleep() []unix.EpollEvent {
	w.out.asleep.Store(true)
	defer w.out.asleep.Store(false)
	if w.out.news.Load() { // left before the sender could see that we sleep
		return nil
	}
	if !w.arm() {
		return nil
	}
	return w.poll.wait(w.patience())
}

// patience is how long to sleep in milliseconds: until something happens, unless
// packets wait that the uplink could not take.
func (w *worker) patience() int {
	if w.sock.Pending() == 0 {
		return -1
	}
	if w.tx.down {
		return 1000
	}
	return 1
}

// do runs a function on the worker's goroutine and returns when it has run.
// Whatever the worker had read from tables before, it has let go then. When
// the worker has stopped, f does not run.
func (w *worker) do(f func()) {
	ran := make(chan struct{})
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.calls = append(w.calls, func() { f(); close(ran) })
	w.called.Store(true)
	w.poll.wake()
	w.mu.Unlock()
	<-ran
}

// stop ends the worker and waits for it.
func (w *worker) stop() {
	w.do(func() { w.stopped = true })
	<-w.done
}

// runCalls tells whether the worker is to end. Functions run under the lock, so
// that none is added to a worker that has stopped.
func (w *worker) runCalls() (stop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.calls {
		f()
	}
	w.calls = nil
	w.called.Store(false)
	return w.stopped
}

// attach gives a source to the worker, which receives from it when fd is readable.
func (w *worker) attach(fd int, s source) (slot int, err error) {
	w.do(func() {
		for slot < len(w.sources) && w.sources[slot] != nil {
			slot++
		}
		if slot == len(w.sources) {
			w.sources = append(w.sources, nil)
		}
		if err = w.poll.add(fd, slot); err == nil {
			w.sources[slot] = s
		}
	})
	return slot, err
}

// giveBurst gives the first n frames of the burst back, as far as nobody has kept
// them.
func (w *worker) giveBurst(n int) {
	for i := range n {
		if addr := w.burst[i].addr; addr != noFrame {
			w.give(addr)
		}
	}
}

// detach takes a source away from the worker. Nothing of it is in use afterwards.
func (w *worker) detach(fd, slot int) {
	w.do(func() {
		w.poll.remove(fd)
		w.sources[slot] = nil
	})
}
