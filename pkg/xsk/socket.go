// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"sync"
	"sync/atomic"
)

// Socket is an AF_XDP socket on one queue of an interface. See the package's
// comment for ownership of frames and for which goroutine may call what.
type Socket struct {
	umem *UMEM
	fill ring[uint64]
	rx   ring[Desc]
	tx   ring[Desc]
	done ring[uint64] // COMPLETION

	posted, sending uint8 // this socket's owner values

	maxPosted uint32 // of fill.local - rx.local
	maxSent   uint32 // of tx.local - done.local
	fragments int    // of a packet to transmit
	busyPoll  bool
	zeroCopy  bool
	lateIndex bool // see Kick

	refused atomic.Uint64

	mu     sync.Mutex // Close against Statistics
	closed bool

	fd      int
	ifindex int
	queue   int
	bound   bool
	private bool // the UMEM is closed with the socket
	frames  int

	errDown, errGone error // made beforehand: the packet path does not allocate
}

// FD is the socket's descriptor, for the caller's own poll: readable when there
// are packets. It is closed by Close.
func (s *Socket) FD() int { return s.fd }

// Queue is the queue of the interface that the socket is bound to.
func (s *Socket) Queue() int { return s.queue }

// ZeroCopy tells whether driver and socket share the packet memory.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// UMEM is the socket's packet memory.
func (s *Socket) UMEM() *UMEM { return s.umem }

// FrameSize is the size of a frame in bytes.
func (s *Socket) FrameSize() int { return s.umem.frameSize }

// Receive takes received descriptors from the RX ring, as many as there are and
// fit, and returns how many. Their frames are the caller's until given to
// Recycle, Free or Transmit. The FILL ring is filled up from the free frames.
//
// With MultiBuffer, a packet goes on in the following descriptor while Options
// has Continued; its rest may come with a later call.
func (s *Socket) Receive(descs []Desc) int {
	s.refill()
	n := min(s.rx.ready(uint32(len(descs)), s.inFill()), uint32(len(descs)))
	if n == 0 {
		return 0
	}
	u, kept := s.umem, 0
	for i := uint32(0); i < n; i++ {
		d := *s.rx.at(s.rx.local + i) // a copy: the ring may change under us
		if !u.inside(d) || !u.move(d.Addr, s.posted, ownerCaller) {
			s.refused.Add(1)
			continue
		}
		descs[kept] = d
		kept++
	}
	s.rx.consumed(n)
	return kept
}

// inFill is the number of frames posted and not received yet.
func (s *Socket) inFill() uint32 { return s.fill.local - s.rx.local }

// inFlight is the number of frames handed to the kernel to send and not seen
// back.
func (s *Socket) inFlight() uint32 { return s.tx.local - s.done.local }

// refill posts free frames for receiving.
func (s *Socket) refill() {
	want := s.maxPosted - s.inFill()
	if want == 0 {
		return
	}
	u := s.umem
	if uint32(len(u.free)) < want {
		s.reap()
		want = min(want, uint32(len(u.free)))
		if want == 0 {
			return
		}
	}
	for i := uint32(0); i < want; i++ {
		*s.fill.at(s.fill.local + i) = u.take(s.posted)
	}
	s.fill.produced(want)
}

// Recycle gives frames of received descriptors back: to the FILL ring as long as
// it needs some, else to the free frames.
func (s *Socket) Recycle(descs []Desc) {
	u := s.umem
	room, n := s.maxPosted-s.inFill(), uint32(0)
	for i := range descs {
		addr := descs[i].Addr
		switch {
		case n < room:
			if !u.move(addr, ownerCaller, s.posted) {
				s.refused.Add(1)
				continue
			}
			*s.fill.at(s.fill.local + n) = addr >> u.shift << u.shift
			n++
		case !u.release(addr, ownerCaller):
			s.refused.Add(1)
		}
	}
	if n > 0 {
		s.fill.produced(n)
	}
}

// Frame is the packet's bytes, with the rest of the frame as capacity. It panics
// for descriptors that are outside the UMEM, which Receive never returns.
func (s *Socket) Frame(d Desc) []byte {
	end := d.Addr&^uint64(s.umem.frameSize-1) + uint64(s.umem.frameSize)
	return s.umem.mem[d.Addr : d.Addr+uint64(d.Len) : end]
}

// Alloc takes free frames, as many as there are and fit, and returns how many.
func (s *Socket) Alloc(addrs []uint64) int {
	u := s.umem
	if s.inFlight() > 0 {
		s.reap()
	}
	n := min(len(addrs), len(u.free))
	for i := range n {
		addrs[i] = u.take(ownerCaller)
	}
	return n
}

// Buffer is the whole frame that addr lies in. It panics for an address outside
// the UMEM.
func (s *Socket) Buffer(addr uint64) []byte {
	start := addr &^ uint64(s.umem.frameSize-1)
	end := start + uint64(s.umem.frameSize)
	return s.umem.mem[start:end:end]
}

// Free gives frames back that the caller owns.
func (s *Socket) Free(addrs []uint64) {
	for _, addr := range addrs {
		if !s.umem.release(addr, ownerCaller) {
			s.refused.Add(1)
		}
	}
}

// Transmit puts descriptors on the TX ring and returns how many were taken; the
// frames of the others stay the caller's. It makes no system call: Kick does. Of
// a packet of several descriptors all are taken or none, and a packet whose last
// descriptor is missing is not taken.
//
// A packet that cannot be sent (of no bytes, reaching out of its frame, in more
// than MaxFragments frames, or continued on a socket without MultiBuffer) is
// taken and its frames are freed.
func (s *Socket) Transmit(descs []Desc) int {
	if s.maxSent-s.inFlight() < uint32(len(descs)) {
		s.reap()
	}
	room, n, taken := s.maxSent-s.inFlight(), uint32(0), 0
	for taken < len(descs) && n < room {
		packet := descs[taken:]
		count := 1
		for packet[count-1].Options&Continued != 0 {
			if count == len(packet) {
				count = 0
				break
			}
			count++
		}
		if count == 0 || uint32(count) > room-n && count <= s.fragments {
			break
		}
		if s.send(packet[:count], n) {
			n += uint32(count)
		}
		taken += count
	}
	if n > 0 {
		s.tx.produced(n)
	}
	return taken
}

// send writes a packet's descriptors at the given place behind the TX ring's
// index, or frees its frames if the kernel would refuse it: the kernel does not
// give back the frames of invalid descriptors.
func (s *Socket) send(packet []Desc, at uint32) bool {
	u := s.umem
	ok := len(packet) <= s.fragments
	owned := 0
	for ok && owned < len(packet) {
		d := packet[owned]
		ok = d.Len > 0 && u.inside(d) && u.move(d.Addr, ownerCaller, s.sending)
		if ok {
			*s.tx.at(s.tx.local + at + uint32(owned)) = Desc{d.Addr, d.Len, d.Options & Continued}
			owned++
		}
	}
	if ok {
		return true
	}
	s.refused.Add(1)
	for i := range packet {
		from := ownerCaller
		if i < owned {
			from = s.sending
		}
		u.release(packet[i].Addr, from)
	}
	return false
}

// reap frees the frames that the kernel has sent.
func (s *Socket) reap() {
	n := s.done.ready(1, s.inFlight())
	if n == 0 {
		return
	}
	for i := uint32(0); i < n; i++ {
		if !s.umem.release(*s.done.at(s.done.local + i), s.sending) {
			s.refused.Add(1)
		}
	}
	s.done.consumed(n)
}

// Pending is the number of frames given to Transmit that the kernel has not sent
// yet.
func (s *Socket) Pending() int {
	s.reap()
	return int(s.inFlight())
}
