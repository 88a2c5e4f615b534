// SPDX-License-Identifier: Apache-2.0

package memif

import "runtime/debug"

// TxQueue sends packets. It belongs to one goroutine at a time.
type TxQueue struct {
	conn  *Conn
	ring  ring
	bell  *doorbell
	count *queueCounter

	// buffers are the slave's own buffers, one for each descriptor.
	buffers    []byte
	bufferSize int
	base       uint32
	// posted are a master's copies of the descriptors from next to read: what
	// the slave writes there later does not matter.
	posted []desc
	read   uint16

	next uint16 // descriptor to fill next
	sent uint16 // the first one that the peer has not been given
	seen uint16 // the peer's index when last looked at
}

// Send copies packets to the peer, whole packets only, and returns the number of
// elements of pkts that were taken: fewer than all when the peer's buffers are
// used up, 0 when the connection has ended. Parts of a packet need not be of the
// sizes of the peer's buffers. A packet that is empty, or that would not fit into
// an empty ring, is taken, dropped and counted. The peer is signalled once, if it
// wants that.
func (q *TxQueue) Send(pkts []Packet) (n int) {
	if q.conn.ended.Load() || len(pkts) == 0 {
		return 0
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), &n)

	free := q.free(len(pkts))
	var packets, size, drops uint64
	next := q.next
	for n < len(pkts) {
		if free == 0 {
			q.next = next
			if free = q.free(1); free == 0 {
				break
			}
		}
		p := &pkts[n]
		parts := 1
		if !p.Next && len(p.Data) > 0 {
			room := q.room(next)
			if len(p.Data) <= len(room) {
				copy(room, p.Data)
				q.fill(next, 0, len(p.Data))
				packets++
				size += uint64(len(p.Data))
				next++
				free--
				n++
				continue
			}
		}
		for pkts[n+parts-1].Next && n+parts < len(pkts) {
			parts++
		}
		packet := pkts[n : n+parts]
		need, length := q.measure(next, free, packet)
		if need > free {
			// The index may have moved since.
			q.next = next
			if again := q.free(int(q.ring.size()) + 1); again > free {
				free = again
				continue
			}
			if free < q.ring.size() || q.conn.ended.Load() {
				break
			}
		}
		if length == 0 || need > free {
			drops++
		} else {
			q.spread(next, packet)
			packets++
			size += uint64(length)
			next += need
			free -= need
		}
		n += parts
	}
	if q.conn.ended.Load() {
		return 0
	}
	q.count.add(packets, size, drops)
	q.next = next
	q.publish()
	return n
}

// free is the number of descriptors that can be filled. It looks at the peer's
// index if it knows of fewer than want.
func (q *TxQueue) free(want int) uint16 {
	if q.conn.master {
		if n := q.seen - q.next; int(n) >= want {
			return n
		}
		seen := q.ring.loadHead()
		n := seen - q.next
		if n > q.ring.size() {
			q.conn.fail(violation("%d buffers posted on a ring of %d", n, q.ring.size()))
			return 0
		}
		q.seen = seen
		return n
	}
	if n := q.ring.size() - (q.next - q.seen); int(n) >= want {
		return n
	}
	seen := q.ring.loadTail()
	used := q.next - seen
	if used > q.ring.size() {
		q.conn.fail(violation("transmit ring's tail moved beyond its head"))
		return 0
	}
	q.seen = seen
	return q.ring.size() - used
}

// room is the buffer of a descriptor that is free; nil after a violation.
func (q *TxQueue) room(i uint16) []byte {
	if !q.conn.master {
		at := (int(i) & (len(q.ring.descs) - 1)) * q.bufferSize
		return q.buffers[at : at+q.bufferSize : at+q.bufferSize]
	}
	d := &q.posted[int(i)&(len(q.posted)-1)]
	if i == q.read { // and never beyond
		*d = q.ring.load(i)
		q.read++
	}
	return q.conn.slice(*d)
}

// fill writes the descriptor of a buffer that is full.
func (q *TxQueue) fill(i, flags uint16, length int) {
	d := q.ring.slot(i)
	if q.conn.master {
		// The slave counts on finding its offsets where it wrote them.
		d.use = makeUse(flags, q.posted[int(i)&(len(q.posted)-1)].region(), uint32(length))
		return
	}
	at := int(i) & (len(q.ring.descs) - 1)
	*d = desc{use: makeUse(flags, 0, uint32(length)), place: uint64(q.base + uint32(at*q.bufferSize))}
}

// measure is the number of descriptors that a packet needs, more than free if
// there are not enough, and its length.
func (q *TxQueue) measure(next, free uint16, packet []Packet) (need uint16, length int) {
	for i := range packet {
		length += len(packet[i].Data)
	}
	if !q.conn.master {
		n := (length + q.bufferSize - 1) / q.bufferSize
		return uint16(min(n, int(free)+1)), length
	}
	for left := length; left > 0; need++ {
		if need == free {
			return free + 1, length
		}
		left -= len(q.room(next + need))
	}
	return need, length
}

// spread copies a packet into as many buffers as it needs; measure has found
// that they are there.
func (q *TxQueue) spread(next uint16, packet []Packet) {
	room, used := q.room(next), 0
	for i := range packet {
		for data := packet[i].Data; len(data) > 0; {
			if used == len(room) {
				q.fill(next, descNext, used)
				next++
				room, used = q.room(next), 0
				continue
			}
			n := copy(room[used:], data)
			data, used = data[n:], used+n
		}
	}
	q.fill(next, 0, used)
}

// publish makes all descriptors that are filled the peer's.
func (q *TxQueue) publish() {
	n := q.next - q.sent
	if n == 0 {
		return
	}
	q.sent = q.next
	if q.conn.master {
		q.ring.storeTail(q.sent)
	} else {
		q.ring.moveHead(n)
	}
	if !q.ring.polled() {
		q.bell.signal()
	}
}

// Reserve fills pkts with empty buffers of the shared memory, as many as there
// are, and returns their number. Data is all of the buffer's room. Nothing is
// sent before Commit; Reserve without Commit has no effect.
func (q *TxQueue) Reserve(pkts []Packet) (n int) {
	if q.conn.ended.Load() {
		return 0
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), &n)
	free := int(q.free(len(pkts)))
	for n < free && n < len(pkts) {
		room := q.room(q.next + uint16(n))
		if room == nil {
			return 0
		}
		pkts[n] = Packet{Data: room}
		n++
	}
	return n
}

// Commit sends the first buffers that Reserve gave. Before that the caller has
// written to each from its beginning, cut Data to what is written, and set Next
// where a packet goes on; the last buffer always ends its packet.
func (q *TxQueue) Commit(pkts []Packet) {
	if q.conn.ended.Load() || len(pkts) == 0 {
		return
	}
	defer q.conn.survive(debug.SetPanicOnFault(true), nil)
	var packets, size uint64
	next := q.next
	for i := range pkts {
		var flags uint16
		if pkts[i].Next && i < len(pkts)-1 {
			flags = descNext
		} else {
			packets++
		}
		size += uint64(len(pkts[i].Data))
		q.fill(next, flags, len(pkts[i].Data))
		next++
	}
	q.count.add(packets, size, 0)
	q.next = next
	q.publish()
}
