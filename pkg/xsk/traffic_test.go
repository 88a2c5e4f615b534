// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

func TestPacketsComeBackByteForByte(t *testing.T) {
	for _, c := range []struct {
		name  string
		pair  pairOptions
		cfg   Config
		sizes []int
	}{
		{"one frame each", pairOptions{}, Config{}, []int{18, 60, 64, 65, 127, 128, 512, 1024, 1280, 1499, 1500, 1514}},
		{"frames of 2048 bytes", pairOptions{}, Config{FrameSize: 2048, RxSize: 64, TxSize: 64}, []int{64, 1514}},
		{"with headroom", pairOptions{}, Config{Headroom: 128}, []int{64, 1514}},
		{"from huge pages or what takes their place", pairOptions{}, Config{HugePages: true}, []int{64, 1514}},
		{"larger TX budget", pairOptions{}, Config{TxBudget: 256}, []int{64, 1514}},
		{"several frames each", pairOptions{mtu: 9000, frags: true}, Config{MultiBuffer: true, Mode: Copy},
			[]int{64, 1514, 3839, 3840, 3841, 4096, 7680, 7681, 8192, 9014}},
	} {
		t.Run(c.name, func(t *testing.T) {
			netns(t)
			if c.cfg.MultiBuffer {
				requireFragments(t)
			}
			a, b := pair(t, "echo", c.pair)
			here, there := a.open(t, 0, c.cfg), b.open(t, 0, c.cfg)
			if here.ZeroCopy() {
				t.Error("veth has no zero-copy, but the socket says so")
			}
			burst := make([]Desc, 8)
			for i, size := range c.sizes {
				want := frame(size, i)
				if err := transmit(here, want); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if err := echo(there, burst); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				got, err := receive(here)
				if err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes: came back as %d others", size, len(got))
				}
			}
			settled(t, here)
			settled(t, there)
		})
	}
}

func TestPacketInAsManyFramesAsPossible(t *testing.T) {
	netns(t)
	requireFragments(t)
	a, b := pair(t, "frags", pairOptions{mtu: 9000, frags: true})
	u, err := NewUMEM(Config{Frames: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	first := a.open(t, 0, Config{UMEM: u, RxSize: 1024, TxSize: 1024, MultiBuffer: true})
	second := b.open(t, 0, Config{UMEM: u, RxSize: 1024, TxSize: 1024}) // inherits MultiBuffer
	for _, way := range []struct{ from, to *Socket }{{first, second}, {second, first}} {
		want, addrs, descs := frame(9000, 0), make([]uint64, MaxFragments), make([]Desc, MaxFragments)
		way.from.Alloc(addrs)
		for i, addr := range addrs {
			n := copy(way.from.Buffer(addr), want[i*500:][:500])
			descs[i] = Desc{Addr: addr, Len: uint32(n), Options: Continued}
		}
		descs[MaxFragments-1].Options = 0
		if n := way.from.Transmit(descs); n != MaxFragments {
			t.Fatalf("%d descriptors were taken", n)
		}
		if err := way.from.Kick(); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(way.to); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrived, %v", len(got), err)
		}
	}
	if n := first.Pending() + second.Pending(); n != 0 {
		t.Errorf("%d frames are pending", n)
	}
	conserved(t, u, 0, first, second)
}

// echo sends the next packet back from the frames that it came in.
func echo(s *Socket, burst []Desc) error {
	n := 0
	for n == 0 || burst[n-1].Options&Continued != 0 {
		if got := s.Receive(burst[n : n+1]); got > 0 {
			n++
		} else if ready, err := s.Wait(2 * time.Second); err != nil {
			return err
		} else if !ready {
			return fmt.Errorf("nothing to echo within 2 s")
		}
	}
	if sent := s.Transmit(burst[:n]); sent != n {
		return fmt.Errorf("%d of %d descriptors were taken", sent, n)
	}
	return s.Kick()
}

// settled checks, when traffic has ended, that every frame is either free or
// posted, and none twice.
func settled(t *testing.T, s *Socket) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for s.Pending() > 0 && time.Now().Before(deadline) {
		if err := s.Kick(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Pending(); n > 0 {
		t.Errorf("%d frames never came back from transmission", n)
	}
	if st, err := s.Statistics(); err != nil || st.Refused+st.TxInvalid+st.RxInvalid > 0 {
		t.Errorf("statistics %+v, %v", st, err)
	}
	conserved(t, s.umem, 0, s)
}

// conserved checks that every frame of a UMEM has one owner: it is on the free
// list, in one of the rings, or held by the caller.
func conserved(t *testing.T, u *UMEM, held int, sockets ...*Socket) {
	t.Helper()
	var count [256]int
	for _, o := range u.owner {
		count[o]++
	}
	free := make([]bool, len(u.owner))
	for _, addr := range u.free {
		i := addr >> u.shift
		if free[i] {
			t.Fatalf("frame %#x is twice on the free list", addr)
		}
		if u.owner[i] != ownerFree {
			t.Fatalf("frame %#x is on the free list and owned by %d", addr, u.owner[i])
		}
		free[i] = true
	}
	if len(u.free) != count[ownerFree] {
		t.Fatalf("%d frames on the free list, %d owned by it", len(u.free), count[ownerFree])
	}
	if count[ownerCaller] != held {
		t.Fatalf("%d frames are the caller's, want %d", count[ownerCaller], held)
	}
	total := held + len(u.free)
	for _, s := range sockets {
		if got, want := count[s.posted], int(s.inFill()); got != want {
			t.Fatalf("%d frames posted by the index, %d by ownership", want, got)
		}
		if got, want := count[s.sending], int(s.inFlight()); got != want {
			t.Fatalf("%d frames under way by the index, %d by ownership", want, got)
		}
		total += int(s.inFill() + s.inFlight())
	}
	if total != len(u.owner) {
		t.Fatalf("%d frames accounted for, of %d", total, len(u.owner))
	}
}
