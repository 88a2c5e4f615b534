// SPDX-License-Identifier: Apache-2.0

package embedded

import "github.com/nsm-afxdp/forwarder/pkg/packet"

// burstSize is the most packets that go from stage to stage at once.
const burstSize = 64

// headroom is what a packet that was read for sending has in front: room for
// the headers of any tunnel, and a whole number of cache lines.
const headroom = 128

// noFrame is the address of no UMEM frame.
const noFrame = ^uint64(0)

// frame is a packet between two ports: buf[start:end], and more if it is a
// large one. What lies in front of it in buf may be overwritten. Only the last
// frame of a burst can have more, which lies in the worker's spill.
//
// Whoever gets a frame by send may keep its UMEM frame by setting addr to
// noFrame; all memory else goes back to where it came from when send returns.
type frame struct {
	buf        []byte
	start, end int
	more       []byte
	addr       uint64
	offload    packet.Offload
}

func (f *frame) bytes() []byte { return f.buf[f.start:f.end] }

func (f *frame) len() int { return f.end - f.start + len(f.more) }

// sink is a port that workers give packets to.
type sink interface {
	// send passes a burst on to the peer behind the port, and counts it. It
	// runs on the goroutine of w.
	send(w *worker, burst []frame)
}

// spill is where a worker has what a large packet has beyond one UMEM frame, and
// in front of it room to bring the whole packet together.
type spill [spillFront + 72<<10]byte

const spillFront = 4 << 10

func (s *spill) rest() []byte { return s[spillFront:] }

// join returns all bytes of a packet in one piece. Those of a large one are
// moved there.
func (s *spill) join(f *frame) []byte {
	if len(f.more) == 0 {
		return f.bytes()
	}
	at := spillFront - copy(s[spillFront-(f.end-f.start):spillFront], f.bytes())
	return s[at : spillFront+len(f.more)]
}
