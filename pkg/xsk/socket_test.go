// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestForwardingBetweenSocketsOfOneUMEM(t *testing.T) {
	netns(t)
	source, left := pair(t, "left", pairOptions{})
	right, sink := pair(t, "right", pairOptions{})
	u, err := NewUMEM(Config{Frames: 2 * 2 * 256})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	small := Config{RxSize: 256, TxSize: 256}
	from, to := source.open(t, 0, small), sink.open(t, 0, small)
	small.UMEM = u
	in, out := left.open(t, 0, small), right.open(t, 0, small)

	const packets = 20_000
	var sent, received int
	buf, burst := make([]Desc, 32), make([]Desc, 64)
	r := rand.New(rand.NewPCG(7, 8))
	deadline := time.Now().Add(10 * time.Second)
	for received < packets && time.Now().Before(deadline) {
		for i := r.IntN(40); i > 0 && sent < packets && sent-received < 200; i-- {
			if transmit(from, frame(64+sent%1400, sent)) != nil {
				break
			}
			sent++
		}
		if _, err := forward(in, out, burst[:1+r.IntN(63)]); err != nil {
			t.Fatal(err)
		}
		n := to.Receive(buf)
		for _, d := range buf[:n] {
			want := frame(64+received%1400, received)
			if string(to.Frame(d)) != string(want) {
				t.Fatalf("packet %d is not the one that was sent", received)
			}
			received++
		}
		to.Recycle(buf[:n])
	}
	if received < packets {
		t.Errorf("%d of %d packets arrived", received, sent)
	}
	for in.Pending()+out.Pending() > 0 && time.Now().Before(deadline) {
		if err := errors.Join(in.Kick(), out.Kick()); err != nil {
			t.Fatal(err)
		}
	}
	conserved(t, u, 0, in, out)

	// A socket that leaves gives its frames back.
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	conserved(t, u, 0, out)
	if err := u.Close(); err == nil {
		t.Error("the UMEM was closed under a socket")
	}
	again := left.open(t, 0, small)
	if err := transmit(from, frame(100, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(again); err != nil {
		t.Error(err)
	}
}

func TestUMEMDoesNotPromiseMoreThanItHas(t *testing.T) {
	netns(t)
	a, b := pair(t, "veth", pairOptions{})
	u, err := NewUMEM(Config{Frames: 6000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	a.open(t, 0, Config{UMEM: u})
	if _, err := Open(b.index, 0, Config{UMEM: u}); err == nil || !strings.Contains(err.Error(), "1904 left") {
		t.Errorf("error %v", err)
	}
	if u.Available() != 6000-2048 {
		t.Errorf("%d frames are free", u.Available())
	}
}

func TestBurstsLargerThanTheRings(t *testing.T) {
	netns(t)
	a, b := pair(t, "burst", pairOptions{})
	from := a.open(t, 0, Config{RxSize: 64, TxSize: 64})
	to := b.open(t, 0, Config{RxSize: 64, TxSize: 64})
	const packets = 5000
	descs, buf := make([]Desc, 0, 128), make([]Desc, 64)
	addrs := make([]uint64, 128)
	sent, received := 0, 0
	deadline := time.Now().Add(5 * time.Second)
	for received < packets && time.Now().Before(deadline) {
		n := from.Alloc(addrs[:min(cap(descs)-len(descs), packets-sent-len(descs))])
		for _, addr := range addrs[:n] {
			copy(from.Buffer(addr), frame(64, sent+len(descs)))
			descs = append(descs, Desc{Addr: addr, Len: 64})
		}
		n = from.Transmit(descs)
		if n > 64 {
			t.Fatalf("a ring of 64 took %d", n)
		}
		sent += n
		descs = append(descs[:0], descs[n:]...)
		if err := from.Kick(); err != nil {
			t.Fatal(err)
		}
		n = to.Receive(buf)
		received += n
		to.Recycle(buf[:n])
	}
	if received != packets {
		t.Errorf("%d of %d packets arrived", received, packets)
	}
	settled(t, from)
	settled(t, to)
}

func TestOneKickSendsAll(t *testing.T) {
	netns(t)
	a, b := pair(t, "kick", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{})
	const packets = 1000 // many times what one system call sends
	addrs, descs := make([]uint64, packets), make([]Desc, packets)
	if n := from.Alloc(addrs); n != packets {
		t.Fatalf("%d frames", n)
	}
	for i, addr := range addrs {
		descs[i] = Desc{Addr: addr, Len: uint32(copy(from.Buffer(addr), frame(64, i)))}
	}
	if n := from.Transmit(descs); n != packets {
		t.Fatalf("%d descriptors were taken", n)
	}
	if err := from.Kick(); err != nil {
		t.Fatal(err)
	}
	got := 0
	deadline := time.Now().Add(2 * time.Second)
	for got < packets && time.Now().Before(deadline) {
		n := to.Receive(descs)
		to.Recycle(descs[:n])
		got += n
	}
	if got != packets {
		t.Errorf("%d of %d packets were sent", got, packets)
	}
	settled(t, from)
}

func TestReceiverThatDoesNotReceive(t *testing.T) {
	netns(t)
	a, b := pair(t, "full", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{RxSize: 32, TxSize: 64, FillSize: 128})
	const packets = 300
	for i := range packets {
		if err := transmit(from, frame(64, i)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := to.Statistics()
	if err != nil {
		t.Fatal(err)
	}
	if st.RxRingFull == 0 || st.RxRingFull > packets-32 {
		t.Errorf("%d packets found the RX ring of 32 full: %+v", st.RxRingFull, st)
	}
	// What was lost is lost, but the sender's frames and the receiver go on.
	got := 0
	buf := make([]Desc, 64)
	for n := to.Receive(buf); n > 0; n = to.Receive(buf) {
		to.Recycle(buf[:n])
		got += n
	}
	if got == 0 || got > 32 {
		t.Errorf("%d packets were on a ring of 32", got)
	}
	if err := transmit(from, frame(99, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(to); err != nil || len(p) != 99 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	settled(t, from)
	settled(t, to)
}

func TestReceiverWithoutFrames(t *testing.T) {
	netns(t)
	a, b := pair(t, "dry", pairOptions{})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{RxSize: 512, TxSize: 64, FillSize: 512, Frames: 64 + minPosted})
	for i := range 200 {
		if err := transmit(from, frame(64, i)); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := to.Statistics(); err != nil || st.FillEmpty == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	// A flood leaves the other direction its frames.
	if err := transmit(to, frame(99, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(from); err != nil || len(p) != 99 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
}

func TestPacketTooLargeForAFrameIsCounted(t *testing.T) {
	netns(t)
	a, b := pair(t, "large", pairOptions{mtu: 3000})
	from, to := a.open(t, 0, Config{}), b.open(t, 0, Config{FrameSize: 2048})
	if err := transmit(from, frame(2500, 0)); err != nil {
		t.Fatal(err)
	}
	if err := transmit(from, frame(80, 1)); err != nil {
		t.Fatal(err)
	}
	if p, err := receive(to); err != nil || len(p) != 80 {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	if st, err := to.Statistics(); err != nil || st.RxDropped != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestBusyPollMovesPackets(t *testing.T) {
	netns(t)
	a, b := pair(t, "poll", pairOptions{})
	cfg := Config{BusyPoll: BusyPoll{Duration: 20 * time.Microsecond, Budget: 64, Prefer: true}}
	from, to := a.open(t, 0, cfg), b.open(t, 0, cfg)
	for option, want := range map[int]int{unix.SO_BUSY_POLL: 20, unix.SO_PREFER_BUSY_POLL: 1} {
		if got, err := unix.GetsockoptInt(to.FD(), unix.SOL_SOCKET, option); err != nil || got != want {
			t.Errorf("socket option %d is %d, %v", option, got, err)
		}
	}
	for i := range 100 {
		if err := transmit(from, frame(200, i)); err != nil {
			t.Fatal(err)
		}
		if err := to.Kick(); err != nil {
			t.Fatal(err)
		}
		if p, err := receive(to); err != nil || len(p) != 200 {
			t.Fatalf("%d bytes, %v", len(p), err)
		}
	}
	settled(t, from)
}
