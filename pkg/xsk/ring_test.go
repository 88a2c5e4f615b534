// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
)

// memoryRing is a ring in ordinary memory whose indices start where told.
func memoryRing[T Desc | uint64](size int, start uint32) ring[T] {
	r := ring[T]{producer: new(uint32), consumer: new(uint32), flags: new(uint32),
		entries: make([]T, size), mask: uint32(size - 1), local: start, cached: start}
	*r.producer, *r.consumer = start, start
	return r
}

// kernel plays the other side of a socket whose rings are in ordinary memory:
// it receives into posted frames and sends transmitted ones, in any order.
type kernel struct {
	s               *Socket
	posted, sending []uint64
}

// simulated is a socket without a kernel. Its indices start shortly before they
// wrap.
func simulated(t testing.TB, u *UMEM, cfg Config) (*Socket, *kernel) {
	t.Helper()
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	const start = ^uint32(0) - 500
	s := &Socket{fd: -1, umem: u, frames: cfg.Frames,
		fill: memoryRing[uint64](cfg.FillSize, start), done: memoryRing[uint64](cfg.CompletionSize, start),
		rx: memoryRing[Desc](cfg.RxSize, start), tx: memoryRing[Desc](cfg.TxSize, start)}
	if err := u.join(s, cfg.Frames); err != nil {
		t.Fatal(err)
	}
	s.limits(cfg)
	return s, &kernel{s: s}
}

// run makes up to n moves of the kernel.
func (k *kernel) run(t testing.TB, n int, r *rand.Rand) {
	s := k.s
	for ; *s.fill.consumer != *s.fill.producer; *s.fill.consumer++ {
		k.posted = append(k.posted, *s.fill.at(*s.fill.consumer))
	}
	for ; *s.tx.consumer != *s.tx.producer; *s.tx.consumer++ {
		k.sending = append(k.sending, s.tx.at(*s.tx.consumer).Addr)
	}
	for range n {
		if len(k.posted) > 0 && r.IntN(2) == 0 && *s.rx.producer-*s.rx.consumer < uint32(len(s.rx.entries)) {
			addr := pick(&k.posted, r)
			if addr%uint64(s.umem.frameSize) != 0 {
				t.Fatalf("FILL ring holds %#x, which is not the start of a frame", addr)
			}
			*s.rx.at(*s.rx.producer) = Desc{Addr: addr + xdpHeadroom, Len: uint32(1 + r.IntN(1500))}
			*s.rx.producer++
		}
		if len(k.sending) > 0 && r.IntN(2) == 0 {
			if *s.done.producer-*s.done.consumer == uint32(len(s.done.entries)) {
				t.Fatal("the COMPLETION ring is full: transmission would stall")
			}
			*s.done.at(*s.done.producer) = pick(&k.sending, r)
			*s.done.producer++
		}
	}
}

// raceDetector tells whether the test was built with it: it makes all slower.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// pick takes any of the addresses.
func pick(addrs *[]uint64, r *rand.Rand) uint64 {
	s := *addrs
	i, last := r.IntN(len(s)), len(s)-1
	addr := s[i]
	s[i] = s[last]
	*addrs = s[:last]
	return addr
}

// TestNoFrameIsLostOrDuplicated makes millions of random operations on two
// sockets of one UMEM, with frames crossing from one to the other, and checks
// now and then that every frame has exactly one owner.
func TestNoFrameIsLostOrDuplicated(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"default rings", Config{}},
		{"small rings", Config{RxSize: 16, TxSize: 32, FillSize: 64, CompletionSize: 32, Frames: 32 + minPosted}},
		{"few frames to receive into", Config{RxSize: 256, TxSize: 128, FillSize: 1024, Frames: 128 + minPosted}},
		{"packets of several frames", Config{RxSize: 64, TxSize: 64, MultiBuffer: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := c.cfg.withDefaults()
			u, err := NewUMEM(Config{Frames: 2 * cfg.Frames})
			if err != nil {
				t.Fatal(err)
			}
			sockets, kernels := [2]*Socket{}, [2]*kernel{}
			for i := range sockets {
				sockets[i], kernels[i] = simulated(t, u, cfg)
			}
			r := rand.New(rand.NewPCG(1, 2))
			operations := 1_000_000
			if testing.Short() || raceDetector() {
				operations /= 10
			}
			held := []Desc{}
			descs, addrs := make([]Desc, 64), make([]uint64, 64)
			var received, sent int
			for op := range operations {
				x := r.IntN(2)
				s, n := sockets[x], 1+r.IntN(len(descs))
				switch r.IntN(7) {
				case 0:
					n = s.Receive(descs[:n])
					received += n
					held = append(held, descs[:n]...)
				case 1:
					last := len(held) - min(n, len(held))
					s.Recycle(held[last:])
					held = held[:last]
				case 2:
					n = s.Alloc(addrs[:n])
					for _, addr := range addrs[:n] {
						held = append(held, Desc{Addr: addr, Len: 60})
					}
				case 3:
					n = min(n, len(held), 8)
					for i := range n {
						addrs[i] = held[len(held)-1-i].Addr
					}
					s.Free(addrs[:n])
					held = held[:len(held)-n]
				case 4, 5:
					burst := held[len(held)-min(n, len(held)):]
					for i := range burst {
						burst[i].Options = 0
						if cfg.MultiBuffer && i < len(burst)-1 && r.IntN(2) == 0 {
							burst[i].Options = Continued
						}
					}
					n = s.Transmit(burst)
					sent += n
					copy(burst, burst[n:])
					held = held[:len(held)-n]
				case 6:
					kernels[x].run(t, 2*n, r)
				}
				if op%5000 == 0 {
					conserved(t, u, len(held), sockets[:]...)
				}
			}
			conserved(t, u, len(held), sockets[:]...)
			t.Logf("%d frames received, %d sent", received, sent)
			if received < operations/10 || sent < operations/10 {
				t.Errorf("too little traffic for %d operations", operations)
			}
			for _, s := range sockets {
				if n := s.refused.Load(); n != 0 && !cfg.MultiBuffer { // random chains may be too long
					t.Errorf("%d refused", n)
				}
			}
		})
	}
}

// FuzzRing compares the arithmetic of a ring with a queue, for any start of the
// indices, and with a kernel that publishes any index it likes.
func FuzzRing(f *testing.F) {
	f.Add(uint32(0), []byte{3, 1, 4, 1, 5})
	f.Add(^uint32(0)-3, []byte{255, 9, 130, 7, 64, 64, 200, 0, 1})
	f.Fuzz(func(t *testing.T, start uint32, moves []byte) {
		const size = 16
		r := memoryRing[uint64](size, start)
		var queue []uint64
		next := uint64(0)
		for _, m := range moves {
			n := uint32(m & 31)
			if m < 128 { // the kernel produces what fits
				for ; n > 0 && len(queue) < size; n-- {
					*r.at(*r.producer) = next
					*r.producer++
					queue = append(queue, next)
					next++
				}
				continue
			}
			if m >= 250 { // or lies
				honest := *r.producer
				*r.producer += uint32(m) << 8
				if got := r.ready(1<<31, size); got > size {
					t.Fatalf("%d entries of a ring of %d", got, size)
				}
				*r.producer = honest
				r.cached = honest
			}
			got := r.ready(n, size)
			if got < min(n, uint32(len(queue))) || got > uint32(len(queue)) {
				t.Fatalf("%d ready of %d, %d wanted", got, len(queue), n)
			}
			got = min(got, n)
			for i := range got {
				if v := *r.at(r.local + i); v != queue[i] {
					t.Fatalf("entry %d is %d, want %d", i, v, queue[i])
				}
			}
			r.consumed(got)
			queue = queue[got:]
			if *r.producer-*r.consumer != uint32(len(queue)) {
				t.Fatalf("indices are %d apart with %d queued", *r.producer-*r.consumer, len(queue))
			}
		}
	})
}

func TestRingsThatLieAreNotBelieved(t *testing.T) {
	u, err := NewUMEM(Config{Frames: 256})
	if err != nil {
		t.Fatal(err)
	}
	s, k := simulated(t, u, Config{RxSize: 64, TxSize: 64})
	r := rand.New(rand.NewPCG(3, 4))
	descs := make([]Desc, 64)
	s.Receive(descs) // posts
	k.run(t, 0, r)
	posted := slices.Clone(k.posted)

	give := func(ds ...Desc) int {
		for _, d := range ds {
			*s.rx.at(*s.rx.producer) = d
			*s.rx.producer++
		}
		return s.Receive(descs)
	}
	size := uint64(len(u.mem))
	free := u.free[0]
	for _, c := range []struct {
		name string
		desc Desc
	}{
		{"beyond the UMEM", Desc{Addr: size, Len: 60}},
		{"far beyond the UMEM", Desc{Addr: ^uint64(0), Len: 60}},
		{"reaching into the next frame", Desc{Addr: posted[0] + 4000, Len: 100}},
		{"of a length that wraps", Desc{Addr: posted[0] + 256, Len: ^uint32(0)}},
		{"in a frame that is free", Desc{Addr: free, Len: 60}},
	} {
		before := s.refused.Load()
		if n := give(c.desc); n != 0 || s.refused.Load() != before+1 {
			t.Errorf("packet %s: %d received, %d refused", c.name, n, s.refused.Load()-before)
		}
	}
	if n := give(Desc{Addr: posted[1] + 256, Len: 60}, Desc{Addr: posted[1] + 256, Len: 60}); n != 1 {
		t.Errorf("a frame given twice was received %d times", n)
	}

	*s.rx.producer += 1 << 20 // more packets than were ever posted
	total := 0
	for n := s.Receive(descs); n > 0 && total < 1000; n = s.Receive(descs) {
		total += n
	}
	if total > int(s.maxPosted) {
		t.Errorf("%d packets of at most %d", total, s.maxPosted)
	}

	*s.done.producer += 1 << 20
	if n := s.Pending(); n != 0 {
		t.Errorf("%d pending of none transmitted", n)
	}
	seen := map[uint64]bool{}
	for _, addr := range u.free {
		if seen[addr] {
			t.Fatalf("frame %#x is twice on the free list", addr)
		}
		seen[addr] = true
	}
}

func TestTransmitRefusesWhatTheKernelWould(t *testing.T) {
	u, err := NewUMEM(Config{Frames: 256})
	if err != nil {
		t.Fatal(err)
	}
	single, _ := simulated(t, u, Config{RxSize: 32, TxSize: 32, Frames: 96, FillSize: 64})
	multi, _ := simulated(t, u, Config{RxSize: 32, TxSize: 32, Frames: 96, FillSize: 64, MultiBuffer: true})
	const next = Continued
	type d struct{ offset, length, options uint32 }
	for _, c := range []struct {
		name    string
		s       *Socket
		packets []d
		taken   int
		sent    uint32
	}{
		{"a packet", single, []d{{0, 60, 0}}, 1, 1},
		{"one that fills its frame", single, []d{{0, 4096, 0}}, 1, 1},
		{"no bytes", single, []d{{0, 0, 0}}, 1, 0},
		{"one byte too many", single, []d{{0, 4097, 0}}, 1, 0},
		{"reaching out of its frame", single, []d{{4000, 97, 0}}, 1, 0},
		{"a bad one between good ones", single, []d{{0, 60, 0}, {0, 0, 0}, {0, 60, 0}}, 3, 2},
		{"unknown options", single, []d{{0, 60, 0xfffe}}, 1, 1},
		{"continued on a socket without", single, []d{{0, 60, next}, {0, 60, 0}}, 2, 0},
		{"continued", multi, []d{{0, 60, next}, {0, 60, next}, {0, 60, 0}}, 3, 3},
		{"without its end", multi, []d{{0, 60, 0}, {0, 60, next}}, 1, 1},
		{"with a bad middle", multi, []d{{0, 60, next}, {0, 0, next}, {0, 60, 0}, {0, 60, 0}}, 4, 1},
		{"in too many frames", multi, slices.Concat(slices.Repeat([]d{{0, 60, next}}, MaxFragments), []d{{0, 60, 0}}), MaxFragments + 1, 0},
		{"in as many as possible", multi, slices.Concat(slices.Repeat([]d{{0, 60, next}}, MaxFragments-1), []d{{0, 60, 0}}), MaxFragments, MaxFragments},
		{"more than fit", single, slices.Repeat([]d{{0, 60, 0}}, 40), 32, 32},
		{"whole packets only", multi, slices.Repeat([]d{{0, 60, next}, {0, 60, next}, {0, 60, 0}}, 12), 30, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.s
			k := &kernel{s: s}
			addrs := make([]uint64, len(c.packets))
			if n := s.Alloc(addrs); n != len(addrs) {
				t.Fatalf("%d frames of %d", n, len(addrs))
			}
			descs := make([]Desc, len(addrs))
			for i, p := range c.packets {
				descs[i] = Desc{Addr: addrs[i] + uint64(p.offset), Len: p.length, Options: p.options}
			}
			before := s.tx.local
			if n := s.Transmit(descs); n != c.taken {
				t.Errorf("%d taken, want %d", n, c.taken)
			}
			if n := s.tx.local - before; n != c.sent {
				t.Errorf("%d on the ring, want %d", n, c.sent)
			}
			for i := before; i != s.tx.local; i++ {
				if o := s.tx.at(i).Options; o&^Continued != 0 {
					t.Errorf("option %#x reaches the kernel", o)
				}
			}
			conserved(t, u, len(addrs)-c.taken, single, multi)
			s.Free(addrs[c.taken:])
			r := rand.New(rand.NewPCG(5, 6))
			for s.Pending() > 0 {
				k.run(t, 64, r)
			}
			conserved(t, u, 0, single, multi)
		})
	}
}

func TestFramesOfOthersAreRefused(t *testing.T) {
	u, err := NewUMEM(Config{Frames: 256})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := simulated(t, u, Config{RxSize: 64, TxSize: 64})
	addrs := make([]uint64, 1)
	s.Alloc(addrs)
	d := []Desc{{Addr: addrs[0], Len: 60}}
	s.Transmit(d)
	for name, misuse := range map[string]func(){
		"free a frame under way":     func() { s.Free(addrs) },
		"recycle a frame under way":  func() { s.Recycle(d) },
		"transmit a frame under way": func() { s.Transmit(d) },
		"free what is outside":       func() { s.Free([]uint64{1 << 40}) },
	} {
		before := s.refused.Load()
		misuse()
		if s.refused.Load() != before+1 {
			t.Errorf("%s: not refused", name)
		}
		conserved(t, u, 0, s)
	}
}
