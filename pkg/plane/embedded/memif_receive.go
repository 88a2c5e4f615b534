// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// From a memif to the port at the other end, a burst at a time:
//
//  1. receive gets views of what the peer has sent. While it sends, the worker
//     looks at the ring in each turn; when it has been quiet for some, the ring
//     is armed and the worker told by its descriptor.
//  2. relay: to another memif the views go as they are, and the sender's copy is
//     the only one.
//  3. fill: for others they are copied into UMEM frames with room in front, and
//     the rest of a large one into the worker's spill. What is decided
//     afterwards is decided on the copy.
//  4. forward answers packets that are too big, and gives the peer the others.
//  5. The views go back to the peer.

// quiet is how many turns on end a ring is looked at in vain before it is armed.
const quiet = 256

// alarms is how often on end a peer may signal without a packet. By chance it
// does so once; by counting on it, it would keep the worker from its rest.
const alarms = 1000

// maxMemifPacket is the longest packet that is read: the largest of IP, with
// Ethernet header and tags.
const maxMemifPacket = 1<<16 + packet.EthernetLen + 2*packet.TagLen

// memifRings are the rings of a port's peer, read by workers.
type memifRings struct {
	port  *memifPort
	peer  sink
	rings []*memifRing
}

// memifRing is a ring that a worker reads.
type memifRing struct {
	port   *memifPort
	peer   sink
	to     *memifPort // peer, if it is a memif
	conn   *memif.Conn
	queue  *memif.RxQueue
	index  int
	worker *worker
	slot   int
	active bool // looked at in each turn
	idle   int  // turns in vain
	vain   int  // signals in vain

	least int // bytes of a packet
	burst []memif.Packet
	// What fill has made of it.
	frames int
	large  bool // one of them is larger than the limit
	drops  int
	taken  int // by relay
	// Method values, made once: the packet path does not allocate.
	relayed, filled func()
}

// begin gives the rings to workers.
func (m *memifRings) begin(c *memif.Conn) error {
	for i, q := range c.Rx() {
		r := &memifRing{port: m.port, peer: m.peer, conn: c, queue: q, index: i, least: packet.IPv4Len}
		if m.port.link == packet.Ethernet {
			r.least = packet.EthernetLen
		}
		r.to, _ = m.peer.(*memifPort)
		r.relayed, r.filled = r.relay, r.fill
		w := m.port.plane.leastLoaded()
		r.worker = w
		var err error
		if r.slot, err = w.attach(q.FD(), r); err != nil {
			m.port.plane.unload(w)
			m.end()
			return err
		}
		m.rings = append(m.rings, r)
		w.do(func() { w.activate(r) }) // there may be packets already
	}
	return nil
}

func (m *memifRings) end() {
	for _, r := range m.rings {
		w := r.worker
		w.do(func() { w.deactivate(r) })
		w.detach(r.queue.FD(), r.slot)
		m.port.plane.unload(w)
	}
	m.rings = nil
}

// activate has a ring looked at in each turn. deactivate takes that back.
func (w *worker) activate(r *memifRing) {
	r.idle = 0
	if !r.active {
		r.active = true
		w.rings = append(w.rings, r)
	}
}

func (w *worker) deactivate(r *memifRing) {
	for i := range w.rings {
		if w.rings[i] == r {
			last := len(w.rings) - 1
			w.rings[i], w.rings[last] = w.rings[last], nil
			w.rings = w.rings[:last]
			break
		}
	}
	r.active = false
}

// pollRings looks at the rings that are busy, and returns how many packets there
// were. Those that have become quiet are armed.
func (w *worker) pollRings() (packets int) {
	for i := 0; i < len(w.rings); i++ {
		r := w.rings[i]
		n := r.read()
		packets += n
		if n > 0 {
			r.idle = 0
		} else if r.idle++; r.idle > quiet && r.arm() {
			i-- // another one has its place
		}
	}
	return packets
}

// arm arms all rings before the worker sleeps. It returns false if there are
// packets after all.
func (w *worker) arm() bool {
	for i := len(w.rings) - 1; i >= 0; i-- {
		if !w.rings[i].arm() {
			return false
		}
	}
	return true
}

// arm tells whether the ring need not be looked at for the time being.
func (r *memifRing) arm() bool {
	if !r.queue.Arm() {
		if r.conn.Err() == nil {
			return false
		}
		r.worker.poll.remove(r.queue.FD()) // it stays readable until the port lets go
	}
	r.worker.deactivate(r)
	return true
}

// receive is called when an armed ring's descriptor is readable: there are
// packets, or the connection has ended.
func (r *memifRing) receive(w *worker, _ uint32) {
	r.queue.Disarm()
	w.activate(r)
	if r.read() > 0 {
		return
	}
	if r.vain++; r.vain > alarms {
		r.conn.Fail("signals without packets")
	}
	if r.conn.Err() != nil {
		r.arm()
	}
}

// read does stages 1 to 5 for one burst, and returns its size.
func (r *memifRing) read() int {
	w := r.worker
	n := r.queue.Receive(w.views[:])
	if n == 0 {
		return 0
	}
	r.vain = 0
	r.burst = w.views[:n]
	if r.to != nil && r.fits() {
		r.taken = 0
		if r.conn.Guard(r.relayed) && r.taken < n {
			r.to.lost(w.id, r.burst[r.taken:])
		}
	} else {
		for len(r.burst) > 0 {
			r.frames, r.large = 0, false
			if !r.conn.Guard(r.filled) {
				w.giveBurst(r.frames)
				break
			}
			r.forward()
		}
	}
	r.burst = nil
	if r.drops > 0 {
		r.port.dropped[w.id].Dropped(r.drops)
		r.drops = 0
	}
	r.queue.Release()
	return n
}

// fits tells whether all packets of the burst may be passed on as they are.
func (r *memifRing) fits() bool {
	size := 0
	for i := range r.burst {
		size += len(r.burst[i].Data)
		if r.burst[i].Next {
			continue
		}
		if size < r.least || size > r.port.limit {
			return false
		}
		size = 0
	}
	return true
}

// relay hands views to another memif.
func (r *memifRing) relay() { r.taken = r.to.put(r.index, r.burst) }

// fill copies packets into frames, up to and including a large one.
func (r *memifRing) fill() {
	w := r.worker
	for len(r.burst) > 0 {
		parts, size := 1, len(r.burst[0].Data)
		for r.burst[parts-1].Next {
			size += len(r.burst[parts].Data)
			parts++
		}
		views := r.burst[:parts]
		r.burst = r.burst[parts:]
		if size < r.least || size > maxMemifPacket {
			r.drops++
			continue
		}
		addr, ok := w.take()
		if !ok {
			r.drops++
			continue
		}
		f := &w.burst[r.frames]
		*f = frame{buf: w.sock.Buffer(addr), start: headroom, end: headroom, addr: addr}
		r.frames++
		r.large = r.large || size > r.port.limit
		spilled := 0
		for i := range views {
			n := copy(f.buf[f.end:], views[i].Data)
			f.end += n
			spilled += copy(w.spill.rest()[spilled:], views[i].Data[n:])
		}
		if spilled > 0 {
			f.more = w.spill.rest()[:spilled]
			return
		}
	}
}

// forward passes the frames on that fill has made.
func (r *memifRing) forward() {
	w := r.worker
	burst := w.burst[:r.frames]
	if r.large {
		burst = r.refuse(burst)
	}
	if len(burst) > 0 {
		r.peer.send(w, burst)
	}
	w.giveBurst(len(burst))
}

// refuse answers what is larger than the MTU, and returns the other frames.
func (r *memifRing) refuse(burst []frame) []frame {
	w, m := r.worker, r.port
	kept := 0
	for i := range burst {
		f := &burst[i]
		limit := m.limit
		if m.link == packet.Ethernet {
			limit += tagsLen(f.bytes())
		}
		if f.len() <= limit {
			burst[kept] = *f
			kept++
			continue
		}
		w.answer(m, &m.answers[w.id].Answers, f, m.link, m.limit)
		r.drops++
		w.give(f.addr)
	}
	return burst[:kept]
}

// tagsLen is the length of a frame's VLAN tags, which the MTU does not count: one
// at most, as in Linux.
func tagsLen(b []byte) int {
	if tag := uint16(b[12])<<8 | uint16(b[13]); tag == 0x8100 || tag == 0x88a8 {
		return packet.TagLen
	}
	return 0
}
