// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"runtime/debug"
	"sync/atomic"
)

// Packet is a packet, or a part of one: Next says that the packet goes on in the
// following Packet of the burst.
type Packet struct {
	Data []byte
	Next bool
}

// RxQueue receives packets. It belongs to one goroutine at a time.
type RxQueue struct {
	conn  *Conn
	ring  ring
	bell  *doorbell
	count *queueCounter

	// buffers are the slave's own buffers, one for each descriptor. A master has
	// none: the descriptors say where packets are.
	buffers    []byte
	bufferSize int
	base       uint32 // offset of buffers in region 0

	next     uint16 // descriptor to look at next
	released uint16 // the first one that the peer has not got back
	seen     uint16 // the peer's index when last looked at
	partial  bool   // the peer has published the beginning of a packet only
}

// Receive fills pkts with views of the packets that wait, whole packets only,
// and returns the number of elements used: 0 if there are none or the connection
// has ended. Views are good until Release. A packet that has more parts than pkts
// has elements is dropped and counted.
func (q *RxQueue) Receive(pkts []Packet) (n int) {
	if q.conn.ended.Load() {
		return 0
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), &n)

	avail := q.available(len(pkts))
	if avail == 0 {
		return 0
	}
	q.partial = false
	var packets, size, drops uint64
	next := q.next
	for avail > 0 && n < len(pkts) {
		first, start, bytes := n, next, 0
		more := true
		for more && avail > 0 && n < len(pkts) {
			d := q.ring.load(next)
			data := q.view(next, d)
			if data == nil {
				// What came before in this burst is good.
				n, next, avail = first, start, 0
				break
			}
			more = d.next()
			pkts[n] = Packet{Data: data, Next: more}
			bytes += len(data)
			n++
			next++
			avail--
		}
		switch {
		case q.conn.ended.Load():
		case !more:
			packets++
			size += uint64(bytes)
			continue
		case first > 0:
			n, next = first, start // leave it to the next burst
		case avail > 0:
			n = 0
			if next, more = q.skip(next, avail); more {
				next = start
				q.incomplete()
			} else {
				drops++
			}
		default:
			n, next = 0, start
			q.incomplete()
		}
		break
	}
	views := q.released != q.next || n > 0
	q.next = next
	q.count.add(packets, size, drops)
	if !views {
		q.Release() // what was dropped
	}
	return n
}

// available is the number of descriptors to look at. It looks at the peer's
// index if it knows of less than want.
func (q *RxQueue) available(want int) uint16 {
	avail := q.seen - q.next
	if int(avail) >= want && !q.partial {
		return avail
	}
	var seen uint16
	if q.conn.master {
		seen = q.ring.loadHead()
	} else {
		seen = q.ring.loadTail()
	}
	avail = seen - q.next
	if avail > q.ring.size()-(q.next-q.released) {
		q.conn.fail(violation("receive ring's index moved by %d descriptors", avail))
		return 0
	}
	q.seen = seen
	return avail
}

// view is the packet data that a descriptor stands for, or nil after a violation.
func (q *RxQueue) view(i uint16, d desc) []byte {
	length := d.length()
	if !q.conn.master {
		if int64(length) > int64(q.bufferSize) {
			q.conn.fail(violation("descriptor of %d bytes in a buffer of %d", length, q.bufferSize))
			return nil
		}
		at := (int(i) & (len(q.ring.descs) - 1)) * q.bufferSize
		return q.buffers[at : at+int(length) : at+int(length)]
	}
	return q.conn.slice(d)
}

// skip looks for the end of a packet that is too long, and returns the
// descriptor after it, or more if the end is not there.
func (q *RxQueue) skip(next, avail uint16) (after uint16, more bool) {
	for ; avail > 0; avail-- {
		d := q.ring.load(next)
		next++
		if !d.next() {
			return next, false
		}
	}
	return next, true
}

// incomplete notes that the rest of a packet has not been published. It must
// come; but if the ring is full it cannot.
func (q *RxQueue) incomplete() {
	q.partial = true
	if q.seen-q.next == q.ring.size() {
		q.conn.fail(violation("a packet longer than the ring"))
	}
}

// Release gives the buffers of all packets received so far back to the peer:
// views of them are no longer good.
func (q *RxQueue) Release() {
	n := q.next - q.released
	if n == 0 {
		return
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), nil)
	if q.conn.master {
		q.ring.storeTail(q.next)
	} else {
		q.post(q.released, n)
	}
	q.released = q.next
}

// post hands n empty buffers to the master.
func (q *RxQueue) post(from, n uint16) {
	mask := len(q.ring.descs) - 1
	for i := range n {
		at := int(from+i) & mask
		q.ring.descs[at] = desc{
			use:   makeUse(0, 0, uint32(q.bufferSize)),
			place: uint64(q.base + uint32(at*q.bufferSize)),
		}
	}
	q.ring.moveHead(n)
}

// FD is an eventfd that becomes readable when packets arrive while the queue is
// armed, and when the connection ends. It is good until Conn.Close.
func (q *RxQueue) FD() int { return q.bell.fd }

// Arm asks the peer for signals, and tells whether the caller may sleep: false
// says that packets wait, or that the connection has ended.
func (q *RxQueue) Arm() (sleep bool) {
	if q.conn.ended.Load() {
		return false
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), nil)
	q.ring.setPolled(false)
	before := q.seen
	if q.seen != q.next && !q.partial {
		return false
	}
	q.available(int(q.ring.size()) + 1)
	return q.seen == before && !q.conn.ended.Load()
}

// Disarm tells the peer that the queue is polled, and takes the signals that
// are left on FD.
func (q *RxQueue) Disarm() {
	if q.conn.ended.Load() {
		return
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), nil)
	q.ring.setPolled(true)
	q.bell.drain()
}

// Drain takes the signals that wait on FD and leaves the queue armed.
func (q *RxQueue) Drain() {
	if !q.conn.ended.Load() {
		q.bell.drain()
	}
}

// queueCounter counts what one queue did. Its owner writes it, anyone reads it.
type queueCounter struct{ packets, bytes, drops atomic.Uint64 }

func (c *queueCounter) add(packets, bytes, drops uint64) {
	if packets > 0 {
		c.packets.Add(packets)
		c.bytes.Add(bytes)
	}
	if drops > 0 {
		c.drops.Add(drops)
	}
}
