// SPDX-License-Identifier: Apache-2.0

package embedded

import "github.com/nsm-afxdp/forwarder/pkg/packet"

// From a memif to the port at the other end, a burst at a time:
//
//  1. read gets views of what the peer has sent (memif_rings.go says when).
//  2. relay: to another memif the views go as they are, and the sender's copy is
//     the only one.
//  3. fill: for others they are copied into UMEM frames with room in front, and
//     the rest of a large one into the worker's spill. What is decided
//     afterwards is decided on the copy.
//  4. forward answers packets that are too big, and gives the peer the others.
//  5. The views go back to the peer.

// maxMemifPacket is the longest packet that is read: the largest of IP, with
// Ethernet header and tags.
const maxMemifPacket = 1<<16 + packet.EthernetLen + 2*packet.TagLen

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
