// SPDX-License-Identifier: Apache-2.0

package embedded

import "github.com/nsm-afxdp/forwarder/pkg/packet"

// From a pod to its VLAN, a burst at a time:
//
//  1. speaks decides whether the pod may send from that address, and has new ones
//     learned.
//  2. What is larger than the MTU is cut, each segment copied into a UMEM frame;
//     other frames have their checksum finished.
//  3. forward sends each to the pod of this node that has the address, or to all
//     of them and the wire if it is for a group, or to the wire alone, where all
//     addresses are that are not known here.
//  4. On the wire, it gets the tag in front and is queued for the TX ring.

// vlanState is what a worker has under way between pods of a VLAN.
type vlanState struct {
	to     *vlanPort
	burst  [burstSize]frame
	n      int
	single [1]frame
}

// send puts a burst into the VLAN.
func (v *vlanPort) send(w *worker, burst []frame) {
	c := &v.caches[w.id]
	if s := v.vlan.stations.Load(); s != c.stations {
		c.stations, c.source, c.to, c.at = s, mac{}, mac{}, nil
	}
	var packets, bytes, drops int
	for i := range burst {
		f := &burst[i]
		if f.end-f.start < packet.EthernetLen || !v.speaks(c, mac(f.buf[f.start+6:])) {
			drops++
			continue
		}
		if f.offload.GSOType != packet.GSONone {
			p, b, d := v.split(w, c, f)
			packets, bytes, drops = packets+p, bytes+b, drops+d
			continue
		}
		length := f.len()
		if length > v.limit {
			w.answer(v.peer, &c.answers, f, packet.Ethernet, v.limit)
			drops++
			continue
		}
		if !f.offload.FinishChecksum(f.bytes()) {
			drops++
			continue
		}
		f.offload = packet.Offload{}
		if !v.forward(w, c, f) {
			drops++
			continue
		}
		packets++
		bytes += length
	}
	w.crossOver()
	v.counters[w.id].Sent(packets, bytes)
	v.counters[w.id].Dropped(drops)
}

// speaks tells whether the pod may send from an address: not from one of a group,
// nor that of the uplink or of another pod.
func (v *vlanPort) speaks(c *vlanCache, source mac) bool {
	if source == c.source && source != (mac{}) {
		return true
	}
	switch at := c.stations.at[source]; {
	case at == v:
		c.source = source
		return true
	case at != nil, source.group(), source == (mac{}), source == c.stations.node:
		return false
	}
	v.hear(source)
	return true
}

// split sends a large frame in segments.
func (v *vlanPort) split(w *worker, c *vlanCache, f *frame) (packets, bytes, drops int) {
	s := &w.segment
	if !s.Start(&f.offload, packet.Ethernet, f.bytes(), f.more, v.limit) {
		if s.TooBig() {
			w.answer(v.peer, &c.answers, f, packet.Ethernet, v.limit)
		}
		return 0, 0, 1
	}
	for s.Left() {
		addr, ok := w.take()
		if !ok {
			return packets, bytes, drops + 1
		}
		segment := frame{buf: w.sock.Buffer(addr), start: headroom, addr: addr}
		n := s.Next(segment.buf[headroom:])
		segment.end = headroom + n
		if !v.forward(w, c, &segment) {
			if segment.addr != noFrame {
				w.give(segment.addr)
			}
			return packets, bytes, drops + 1
		}
		packets++
		bytes += n
	}
	return packets, bytes, drops
}

// forward sends a frame that is ready for the wire to where it is to go. It has
// the UMEM frame if that was possible.
func (v *vlanPort) forward(w *worker, c *vlanCache, f *frame) bool {
	to := mac(f.buf[f.start:])
	if to.group() {
		w.flood(c.stations, f, v, false)
		return v.emit(w, f)
	}
	if to != c.to {
		c.to, c.at = to, c.stations.at[to]
	}
	switch c.at {
	case nil:
		if v.vlan.unknown.Load() > 0 {
			w.flood(c.stations, f, v, true)
		}
		return v.emit(w, f)
	case v:
		return false // to itself
	}
	w.cross(c.at, f)
	return true
}

// emit puts the tag in front of a frame and queues it.
func (v *vlanPort) emit(w *worker, f *frame) bool {
	start := f.start - packet.TagLen
	if f.addr == noFrame || start < 0 {
		return false
	}
	packet.PushVLAN(f.buf[start:f.end], v.port.ID)
	addr := f.addr
	f.addr = noFrame
	return w.queue(addr, start, f.end-start)
}

// cross leaves a frame for a pod of this node, which gets it with others that
// follow. The UMEM frame goes along.
func (w *worker) cross(to *vlanPort, f *frame) {
	x := &w.vlan
	if x.to != to || x.n == len(x.burst) {
		w.crossOver()
	}
	x.to = to
	x.burst[x.n] = *f
	x.n++
	f.addr = noFrame
}

// crossOver gives the pod what cross has left for it.
func (w *worker) crossOver() {
	x := &w.vlan
	if x.n == 0 {
		return
	}
	x.to.received(w, x.burst[:x.n], mac{})
	for i := range x.n {
		if addr := x.burst[i].addr; addr != noFrame {
			w.give(addr)
		}
	}
	x.to, x.n = nil, 0
}

// flood gives copies of a frame to the ports but one; to those only that may have
// unknown addresses, if it is to one.
func (w *worker) flood(s *stations, f *frame, but *vlanPort, unknown bool) {
	w.crossOver() // which was sent before
	for _, port := range s.ports {
		if port != but && (!unknown || port.unknown.Load() > 0) {
			port.copied(w, f)
		}
	}
}
