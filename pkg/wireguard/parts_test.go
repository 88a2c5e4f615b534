// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
)

func TestIndexTableAgreesWithMap(t *testing.T) {
	table := newIndexTable()
	model := map[uint32][]*session{}
	var all []*session
	for range 20_000 {
		if len(all) > 0 && rand.IntN(5) < 2 {
			i := rand.IntN(len(all))
			s := all[i]
			all = append(all[:i], all[i+1:]...)
			table.remove(s)
			table.remove(s) // again does nothing
			left := model[s.index][:0:0]
			for _, other := range model[s.index] {
				if other != s {
					left = append(left, other)
				}
			}
			model[s.index] = left
			continue
		}
		// Few values and one low part, so that indices collide and slots too.
		s := &session{index: rand.Uint32N(400) << 16}
		all = append(all, s)
		table.add(s)
		model[s.index] = append([]*session{s}, model[s.index]...)
	}
	live := 0
	for index := range uint32(400) {
		want := model[index<<16]
		got := table.lookup(index << 16)
		if len(got) != len(want) {
			t.Fatalf("index %x has %d sessions, want %d", index<<16, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("index %x has other sessions", index<<16)
			}
		}
		if len(want) > 0 {
			live++
		}
	}
	if table.live != live {
		t.Errorf("%d indices are live, want %d", table.live, live)
	}
}

func TestIndexTableStaysSmallThroughRekeys(t *testing.T) {
	table := newIndexTable()
	var last *session
	for range 100_000 {
		s := &session{index: rand.Uint32()}
		table.add(s)
		if last != nil {
			table.remove(last)
		}
		last = s
	}
	if n := len(*table.slots.Load()); n != minIndexSlots {
		t.Errorf("table of two sessions has %d slots", n)
	}
}

func TestIndexTableIsReadWhileItChanges(t *testing.T) {
	table := newIndexTable()
	stays := &session{index: 42}
	table.add(stays)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s := table.lookup(42); len(s) != 1 || s[0] != stays {
					t.Error("a session that stays was not found")
					return
				}
			}
		})
	}
	for i := range uint32(20_000) {
		s := &session{index: 43 + i%500}
		table.add(s)
		table.remove(s)
	}
	close(stop)
	readers.Wait()
}

// marked is an initiation for the owner of a public key.
func marked(t testing.TB, public Key) []byte {
	t.Helper()
	var macs wg.CookieGenerator
	macs.Init(wg.NoisePublicKey(public))
	m := message(initiation, initiationSize)
	macs.AddMacs(m)
	return m
}

// rosterOf makes a roster of tunnels at one address, and a clock for it.
func rosterOf(t testing.TB, n int, addr netip.Addr) (*rosters, []*Tunnel, *time.Time) {
	t.Helper()
	now := time.Unix(0, 0)
	r := newRosters(func() time.Time { return now })
	tunnels := make([]*Tunnel, n)
	for i := range tunnels {
		mac, err := newMAC1(Key{byte(i), byte(i >> 8), 1})
		if err != nil {
			t.Fatal(err)
		}
		tunnels[i] = &Tunnel{public: Key{byte(i), byte(i >> 8), 1}, mac1: mac}
		r.add(tunnels[i], addr)
	}
	return &r, tunnels, &now
}

func TestInitiationsFindTheTunnelThatWaitedLongest(t *testing.T) {
	known := netip.MustParseAddr("192.0.2.9")
	r, tunnels, _ := rosterOf(t, 100, known)
	roster := r.at[known]
	for round := range 3 {
		for i := range tunnels {
			// The first time the newest is at the front, later the one that was
			// found first.
			want := tunnels[len(tunnels)-1-i]
			before := roster.checks
			got, reason := r.find(netip.MustParseAddr("::ffff:192.0.2.9"), marked(t, want.public))
			if got != want {
				t.Fatalf("round %d found another tunnel, or none: %s", round, reason)
			}
			if cost := before - roster.checks; cost != 1 {
				t.Fatalf("round %d took %v checks, want 1", round, cost)
			}
		}
	}
}

func TestFloodOfStrangersLeavesKnownPeersAlone(t *testing.T) {
	known, stranger := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("198.51.100.1")
	r, tunnels, now := rosterOf(t, 1000, known)
	junk := message(initiation, initiationSize)
	reasons := map[Reason]int{}
	for range 300 {
		_, reason := r.find(stranger, junk)
		reasons[reason]++
	}
	if want := strangerChecksBurst / 1000; reasons[DropUnknownKey] != want || reasons[DropFlood] != 300-want {
		t.Errorf("reasons are %v, want %d checked to the end", reasons, want)
	}
	if got, reason := r.find(known, marked(t, tunnels[0].public)); got != tunnels[0] {
		t.Errorf("a known peer was refused: %s", reason)
	}
	if _, reason := r.find(stranger, marked(t, tunnels[999].public)); reason != DropFlood {
		t.Errorf("a stranger was looked at, without checks left: %s", reason)
	}
	*now = now.Add(time.Second)
	if got, _ := r.find(stranger, marked(t, tunnels[999].public)); got != tunnels[999] {
		t.Error("a stranger was refused a second later")
	}
}

func TestFloodFillsTheDoorAndNoMore(t *testing.T) {
	p := newPair(t, HubConfig{})
	p.open(t)
	junk := message(initiation, initiationSize)
	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = junk
	}
	p.b.mu.Lock() // nobody answers
	const n = doorQueue/64 + 10
	for range n {
		p.b.Receive(addrA, addrB, burst)
	}
	p.b.mu.Unlock()
	p.b.door.wait()
	c := p.b.Counters()
	// One more than the queue holds may be with the goroutine that answers.
	if flood := c.Dropped[DropFlood]; flood != 640 && flood != 639 {
		t.Errorf("%d were dropped for the flood, want 640 or 639", flood)
	}
	if sum := c.Dropped[DropFlood] + c.Dropped[DropUnknownKey]; sum != 64*n {
		t.Errorf("%d are accounted for, want %d", sum, 64*n)
	}
}

func newInbox() *inbox {
	q := new(inbox)
	q.arrived.L = &q.mu
	q.start()
	return q
}

func TestInboxKeepsOrderAndBoundaries(t *testing.T) {
	q := newInbox()
	var sent, got [][]byte
	from := &endpoint{remote: addrA, local: addrB}
	packets, sizes, eps := make([][]byte, 8), make([]int, 8), make([]conn.Endpoint, 8)
	for i := range packets {
		packets[i] = make([]byte, maxDatagram)
	}
	for len(got) < 2000 {
		for range rand.IntN(20) + 1 {
			d := bytes.Repeat([]byte{byte(len(sent))}, rand.IntN(2000)+1)
			if n, reason := q.put([][]byte{d}, from); n != 1 {
				t.Fatal(reason)
			}
			sent = append(sent, d)
		}
		for len(got) < len(sent) {
			n, err := q.fetch(packets, sizes, eps)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				got = append(got, bytes.Clone(packets[i][:sizes[i]]))
				if eps[i] != conn.Endpoint(from) {
					t.Fatal("endpoint is another")
				}
			}
		}
	}
	for i := range got {
		if !bytes.Equal(got[i], sent[i]) {
			t.Fatalf("datagram %d is not what was sent", i)
		}
	}
}

func TestFullInboxDropsTheRest(t *testing.T) {
	for name, size := range map[string]int{"many small ones": 32, "few large ones": 60_000} {
		t.Run(name, func(t *testing.T) {
			q := newInbox()
			room := min(inboxDatagrams, inboxBytes/size)
			burst := make([][]byte, room+10)
			for i := range burst {
				burst[i] = make([]byte, size)
			}
			if n, reason := q.put(burst, nil); n != room || reason != DropQueueFull {
				t.Errorf("%d were taken, %s; want %d", n, reason, room)
			}
		})
	}
}

func TestStoppedInboxReturnsAndRefuses(t *testing.T) {
	q := newInbox()
	done := make(chan error, 1)
	go func() {
		_, err := q.fetch(make([][]byte, 1), make([]int, 1), make([]conn.Endpoint, 1))
		done <- err
	}()
	q.stop()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error is %v, want net.ErrClosed", err)
	}
	if n, reason := q.put([][]byte{{1}}, nil); n != 0 || reason != DropClosed {
		t.Errorf("%d were taken, %s", n, reason)
	}
}

func TestWindowHoldsBackUntilPacketsComeOut(t *testing.T) {
	w := newWindow()
	w.stall = time.Minute
	w.in(windowPackets)
	passed := make(chan time.Time, 1)
	go func() {
		w.wait()
		passed <- time.Now()
	}()
	eventually(t, "it waits", w.waiting.Load)
	w.out(windowPackets / 2)
	<-passed
	if n := w.inside.Load(); n != windowPackets/2 {
		t.Errorf("%d are inside, want %d", n, windowPackets/2)
	}
}

func TestWindowForgetsPacketsThatNeverComeOut(t *testing.T) {
	w := newWindow()
	w.in(windowPackets + 5)
	start := time.Now()
	w.wait()
	if took := time.Since(start); took < windowStall {
		t.Errorf("it waited %v, want %v", took, windowStall)
	}
	if n := w.inside.Load(); n != 0 {
		t.Errorf("%d are inside, want none", n)
	}
	w.out(3)
	if n := w.inside.Load(); n != 0 {
		t.Errorf("%d are inside after more came out than were", n)
	}
}

func TestForgedDataDoesNotStarveTheTunnel(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	r := p.record(addrA)
	a.inside.out <- packet(100, 0)
	b.inside.expect(t, 0)
	forged := bytes.Clone(r.all(transport)[0])
	forged[len(forged)-1] ^= 1
	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = forged
	}
	for i := range uint32(50) {
		p.b.Receive(addrA, addrB, burst)
		a.inside.out <- packet(100, 1+i)
		b.inside.expect(t, 1+i)
	}
}
