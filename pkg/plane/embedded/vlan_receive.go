// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// acceptTagged takes the tag out of frame i of the burst, and returns the port of
// the VLAN that has its destination. A frame for many, or for an address that is
// not known, goes to all ports: the last of them is returned, the others get
// copies.
func (w *worker) acceptTagged(i int, d xsk.Desc, outer []byte, vlan *vlan) *inlet {
	s := vlan.stations.Load()
	packet.PopVLAN(outer)
	buf := w.sock.Buffer(d.Addr)
	at := len(buf) - cap(outer) // of the frame in its UMEM frame
	f := &w.rx.frames[i]
	*f = frame{buf: buf, start: at + packet.TagLen, end: at + len(outer), addr: noFrame}
	if port := s.at[mac(f.buf[f.start:])]; port != nil {
		return &port.inlet
	}
	last := len(s.ports) - 1
	if last < 0 {
		return nil // it has just left
	}
	w.flood(s, f, s.ports[last], false)
	return &s.ports[last].inlet
}

// received passes a burst from the VLAN on to the pod.
func (v *vlanPort) received(w *worker, burst []frame, _ [6]byte) {
	bytes := 0
	for i := range burst {
		bytes += burst[i].len()
	}
	v.counters[w.id].Received(len(burst), bytes)
	v.peer.send(w, burst)
}

// copied passes a copy of a frame from the VLAN on to the pod: a port may change
// what it is given.
func (v *vlanPort) copied(w *worker, f *frame) {
	addr, ok := w.take()
	if !ok {
		v.counters[w.id].Dropped(1)
		return
	}
	c := &w.vlan.single[0]
	*c = frame{buf: w.sock.Buffer(addr), start: headroom, addr: addr}
	c.end = headroom + copy(c.buf[headroom:], f.bytes())
	v.received(w, w.vlan.single[:], mac{})
	if c.addr != noFrame {
		w.give(c.addr)
	}
}
