// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// Over an underlay whose MTU leaves less than the 1280 bytes that IPv6 needs inside
// a tunnel, the longest outer packets leave in two fragments, and the peer's are
// put together (reassembly.go). This is the slow path: each fragment is a copy.

// maxWhole is the longest frame that is fragmented or put together, in bytes from
// Ethernet on.
const maxWhole = 2048

// queueFragments leaves whole, a stamped frame in the UMEM frame addr, to be sent in
// fragments of at most limit bytes from Ethernet on. It returns false if one of them
// could not be sent.
func (w *worker) queueFragments(o *packet.Outer, addr uint64, whole []byte, limit int) bool {
	defer w.give(addr)
	mtu, id := limit-(o.Len()-o.Overhead()), w.plane.fragmentID.Add(1)
	for at, more := 0, true; more; more = at != 0 {
		to, ok := w.take()
		if !ok {
			return false
		}
		var n int
		n, at = o.Fragment(w.sock.Buffer(to), whole, at, mtu, id)
		if !w.queue(to, 0, n) {
			return false
		}
	}
	return true
}

// sendFragments leaves a datagram to a worker in fragments. One that is too long for
// the path, or for a frame, is not sent.
func (p transport) sendFragments(w *worker, h *pathHeaders, datagram []byte) error {
	var buf [maxWhole]byte
	length := h.outer.Len() + len(datagram)
	if len(datagram) > h.limit || length > len(buf) {
		return nil
	}
	whole := buf[:length]
	copy(whole[h.outer.Len():], datagram)
	h.outer.Stamp(whole, 0)
	id := p.fragmentID.Add(1)
	for at, more := 0, true; more; more = at != 0 {
		// One frame at a time: senders that wait for a second one and hold a first
		// could wait for each other.
		var to [1]uint64
		if _, err := w.borrow(to[:]); err != nil {
			return err
		}
		var n int
		n, at = h.outer.Fragment(w.sock.Buffer(to[0]), whole, at, h.link, id)
		w.post([]xsk.Desc{{Addr: to[0], Len: uint32(n)}})
	}
	return nil
}
