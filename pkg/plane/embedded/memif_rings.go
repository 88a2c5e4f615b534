// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// While a peer sends, the worker looks at its ring in each turn. When the ring has
// been quiet for some, it is armed, and the worker told by its descriptor.

// quiet is how many turns on end a ring is looked at in vain before it is armed.
const quiet = 256

// alarms is how often on end a peer may signal without a packet. By chance it
// does so once; by counting on it, it would keep the worker from its rest.
const alarms = 1000

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
