// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"net"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// An inbox can hold this much until its device fetches it.
const (
	inboxBytes     = 2 << 20
	inboxDatagrams = 2048
)

// batch is a pile of datagrams, their bytes end to end.
type batch struct {
	bytes []byte
	items []item
}

type item struct {
	end  int // in bytes
	from *endpoint
}

// batchPool is shared by the tunnels of a hub: an idle tunnel holds no batch.
var batchPool = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) release() {
	b.bytes = b.bytes[:0]
	clear(b.items)
	b.items = b.items[:0]
	batchPool.Put(b)
}

// inbox hands datagrams from the packet path to the receive routine of one
// device. Whoever puts fills one batch, while the routine empties another; they
// meet only to exchange them.
type inbox struct {
	mu      sync.Mutex
	arrived sync.Cond
	open    atomic.Bool // set with mu held
	waiting bool
	filling *batch // nil if empty

	// Of the receive routine alone.
	emptying *batch // nil if empty
	next     int    // item of emptying
}

// put copies datagrams in. It returns how many were taken, and why the others
// were not.
func (q *inbox) put(datagrams [][]byte, from *endpoint) (taken int, reason Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open.Load() {
		return 0, DropClosed
	}
	b := q.filling
	if b == nil {
		b = batchPool.Get().(*batch)
		q.filling = b
	}
	for _, d := range datagrams {
		if len(b.items) == inboxDatagrams || len(b.bytes)+len(d) > inboxBytes {
			reason = DropQueueFull
			break
		}
		b.bytes = append(b.bytes, d...)
		b.items = append(b.items, item{end: len(b.bytes), from: from})
		taken++
	}
	if q.waiting {
		q.waiting = false
		q.arrived.Signal()
	}
	return taken, reason
}

// fetch waits for datagrams and copies them out: it is the ReceiveFunc of the
// tunnel's Bind.
func (q *inbox) fetch(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	if q.emptying == nil {
		q.emptying, q.next = q.wait(), 0
	}
	if !q.open.Load() {
		if q.emptying != nil {
			q.emptying.release()
			q.emptying = nil
		}
		return 0, net.ErrClosed
	}
	b, n := q.emptying, 0
	start := 0
	if q.next > 0 {
		start = b.items[q.next-1].end
	}
	for n < len(packets) && q.next < len(b.items) {
		it := b.items[q.next]
		sizes[n] = copy(packets[n], b.bytes[start:it.end])
		eps[n] = it.from
		start = it.end
		q.next++
		n++
	}
	if q.next == len(b.items) {
		b.release()
		q.emptying = nil
	}
	return n, nil
}

// wait returns the batch that was filled, or nil when the inbox is shut.
func (q *inbox) wait() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.open.Load() && q.filling == nil {
		q.waiting = true
		q.arrived.Wait()
	}
	b := q.filling
	q.filling = nil
	return b
}

func (q *inbox) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open.Store(true)
}

// stop makes fetch return net.ErrClosed and discards what was not fetched yet.
func (q *inbox) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open.Store(false)
	if q.filling != nil {
		q.filling.release()
		q.filling = nil
	}
	q.arrived.Broadcast()
}
