// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
)

// message is a datagram of a type and size with zeros otherwise.
func message(k kind, size int) []byte {
	m := make([]byte, size)
	binary.LittleEndian.PutUint32(m, uint32(k))
	return m
}

func TestDatagramsForNobodyAreCounted(t *testing.T) {
	p := newPair(t, HubConfig{})
	p.open(t)
	for name, c := range map[string]struct {
		datagram []byte
		want     Reason
	}{
		"empty":                      {nil, DropShort},
		"one byte":                   {[]byte{4}, DropShort},
		"shorter than any message":   {message(transport, 31), DropShort},
		"initiation cut off":         {message(initiation, 147), DropShort},
		"initiation with a tail":     {message(initiation, 149), DropOversized},
		"response cut off":           {message(response, 91), DropShort},
		"response with a tail":       {message(response, 93), DropOversized},
		"cookie reply cut off":       {message(cookieReply, 63), DropShort},
		"cookie reply with a tail":   {message(cookieReply, 65), DropOversized},
		"transport beyond UDP":       {message(transport, 1<<16), DropOversized},
		"type 0":                     {message(0, 100), DropUnknownType},
		"type 5":                     {message(5, 100), DropUnknownType},
		"reserved bytes set":         {message(4|1<<8, 100), DropUnknownType},
		"transport without session":  {message(transport, 100), DropUnknownIndex},
		"response without session":   {message(response, responseSize), DropUnknownIndex},
		"cookie without session":     {message(cookieReply, cookieReplySize), DropUnknownIndex},
		"initiation for another key": {message(initiation, initiationSize), DropUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			before := p.b.Counters()
			p.b.Receive(addrA, addrB, [][]byte{c.datagram, c.datagram})
			p.b.door.wait()
			after := p.b.Counters()
			for reason := noDrop + 1; reason < reasons; reason++ {
				want := before.Dropped[reason]
				if reason == c.want {
					want += 2
				}
				if got := after.Dropped[reason]; got != want {
					t.Errorf("%s is %d, want %d", reason, got, want)
				}
			}
			if after.Delivered != before.Delivered {
				t.Error("it was delivered")
			}
		})
	}
}

// recorder keeps copies of what crosses a wire one way.
type recorder struct {
	mu        sync.Mutex
	datagrams [][]byte
}

func (p *pair) record(from netip.AddrPort) *recorder {
	r := new(recorder)
	p.wire.intercept(func(f, _ netip.AddrPort, datagrams [][]byte) [][]byte {
		if f == from {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, d := range datagrams {
				r.datagrams = append(r.datagrams, bytes.Clone(d))
			}
		}
		return datagrams
	})
	return r
}

// all returns what was recorded of a kind.
func (r *recorder) all(k kind) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found [][]byte
	for _, d := range r.datagrams {
		if kind(d[0]) == k {
			found = append(found, d)
		}
	}
	return found
}

func TestReplayedDatagramsChangeNothing(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	r := p.record(addrA)
	shake(t, a)
	for i := range uint32(20) {
		a.inside.out <- packet(100, i)
		b.inside.expect(t, i)
	}
	index := b.peerIndex.Load()
	replays := append(r.all(initiation), r.all(transport)...)
	if len(replays) < 21 {
		t.Fatalf("%d datagrams were recorded", len(replays))
	}
	for range 3 {
		p.b.Receive(addrA, addrB, replays)
	}
	a.inside.out <- packet(100, 100)
	b.inside.expect(t, 100)
	b.inside.out <- packet(100, 101)
	a.inside.expect(t, 101)
	if got := b.peerIndex.Load(); index != noPeerIndex && got != index {
		t.Errorf("session changed from %x to %x", index, got)
	}
}

func TestTamperedDatagramsAreNotDelivered(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	r := p.record(addrA)
	a.inside.out <- packet(100, 1)
	b.inside.expect(t, 1)
	good := r.all(transport)[0]
	for i := receiverOffset + 4; i < len(good); i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		p.b.Receive(addrA, addrB, [][]byte{bad})
	}
	a.inside.out <- packet(100, 2)
	b.inside.expect(t, 2)
}

func TestPeerWithUnknownKeyGetsNoSession(t *testing.T) {
	p := newPair(t, HubConfig{})
	_, b := p.open(t)
	stranger := openEnd(t, p.a, Config{PrivateKey: randomKey(t), PeerKey: b.PublicKey(), Local: addrA, Remote: addrB})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := stranger.Handshake(ctx); err == nil {
		t.Fatal("handshake succeeded")
	}
	s, err := b.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if !s.LastHandshake.IsZero() || p.b.Counters().Delivered == 0 {
		t.Errorf("counters are %+v, hub's %+v", s, p.b.Counters())
	}
}

func TestTunnelFollowsPeerThatRoams(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	a.inside.out <- packet(100, 1)
	b.inside.expect(t, 1)

	elsewhere := netip.MustParseAddrPort("198.51.100.7:4711")
	p.wire.attach(elsewhere.Addr(), p.a)
	p.wire.intercept(func(from, to netip.AddrPort, d [][]byte) [][]byte {
		if from != addrA {
			return d
		}
		p.b.Receive(elsewhere, to, d)
		return nil
	})
	a.inside.out <- packet(100, 2)
	b.inside.expect(t, 2)
	b.inside.out <- packet(100, 3)
	a.inside.expect(t, 3)
	if s, err := b.Stats(); err != nil || s.Endpoint != elsewhere {
		t.Errorf("endpoint is %s, want %s; %v", s.Endpoint, elsewhere, err)
	}
	p.b.mu.Lock()
	at := b.rosterAddr
	p.b.mu.Unlock()
	if at != elsewhere.Addr() {
		t.Errorf("initiations are expected from %s, want %s", at, elsewhere.Addr())
	}
	a.rekey(t)
	a.inside.out <- packet(100, 4)
	b.inside.expect(t, 4)
}

func TestForgedDatagramsDoNotMoveEndpoint(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	r := p.record(addrA)
	a.inside.out <- packet(100, 1)
	b.inside.expect(t, 1)
	elsewhere := netip.MustParseAddrPort("198.51.100.7:4711")
	old := r.all(transport)[0]
	forged := message(transport, 100)
	copy(forged[receiverOffset:], old[receiverOffset:receiverOffset+4])
	p.b.Receive(elsewhere, addrB, [][]byte{forged, old})
	a.inside.out <- packet(100, 2)
	b.inside.expect(t, 2)
	if s, err := b.Stats(); err != nil || s.Endpoint != addrA {
		t.Errorf("endpoint is %s, want %s; %v", s.Endpoint, addrA, err)
	}
}

func TestCollidingIndicesReachTheRightTunnel(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	_, other := p.open(t)
	shake(t, a)
	b.sessions.mu.Lock()
	index := b.sessions.response.index
	b.sessions.mu.Unlock()
	for range 3 {
		p.b.indices.add(&session{index: index, tunnel: other.Tunnel, role: response})
	}
	for i := range uint32(10) {
		a.inside.out <- packet(100, i)
		b.inside.expect(t, i)
	}
	if n := len(other.inside.in); n != 0 {
		t.Errorf("the other tunnel got %d packets", n)
	}
}

func TestIndicesStayFewThroughManyHandshakes(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	for i := range uint32(20) {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		before := from.peerIndex.Load()
		from.rekey(t)
		eventually(t, "another session", func() bool { return from.peerIndex.Load() != before })
		from.inside.out <- packet(100, i)
		to.inside.expect(t, i)
		to.inside.out <- packet(100, i)
		from.inside.expect(t, i)
	}
	for name, h := range map[string]*Hub{"a": p.a, "b": p.b} {
		if n := h.indices.live; n > maxTakenUp+2 {
			t.Errorf("hub %s knows %d indices of one tunnel, want at most %d", name, n, maxTakenUp+2)
		}
	}
}

func TestUnansweredInitiationsDoNotPushSessionsOut(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	r := p.record(addrB)
	b.inside.out <- packet(100, 1)
	a.inside.expect(t, 1)
	// Initiations of a that get lost, as many as an outage of minutes has.
	for i := range uint32(50) {
		lost := message(initiation, initiationSize)
		binary.LittleEndian.PutUint32(lost[senderOffset:], 1000+i)
		a.sent(initiation, lost)
	}
	if n := p.a.indices.live; n > 2 {
		t.Errorf("%d indices are known, want 2", n)
	}
	p.wire.intercept(nil)
	b.inside.out <- packet(100, 2)
	a.inside.expect(t, 2)
	if len(r.all(transport)) == 0 {
		t.Error("nothing was recorded")
	}
}

func TestDataOfThePreviousSessionArrivesAfterRekey(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	a.inside.out <- packet(100, 1)
	b.inside.expect(t, 1)
	var late []byte
	caught := make(chan struct{})
	p.wire.intercept(func(from, _ netip.AddrPort, d [][]byte) [][]byte {
		if from == addrA && late == nil && carriesPacket(d[0]) {
			late = bytes.Clone(d[0])
			close(caught)
			return nil
		}
		return d
	})
	a.inside.out <- packet(100, 2)
	<-caught
	p.wire.intercept(nil)
	before := a.peerIndex.Load()
	a.rekey(t)
	eventually(t, "another session", func() bool { return a.peerIndex.Load() != before })
	a.inside.out <- packet(100, 3)
	b.inside.expect(t, 3)
	p.b.Receive(addrA, addrB, [][]byte{late})
	b.inside.expect(t, 2)
}

// raceDetector is set when it is on.
var raceDetector bool

func TestReceiveDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("sync.Pool forgets at random under the race detector")
	}
	h, tunnel, burst, packets := inboxOnly(t)
	n := len(burst)
	sizes, eps := make([]int, n), make([]conn.Endpoint, n)
	allocs := testing.AllocsPerRun(1000, func() {
		h.Receive(addrA, addrB, burst)
		if got, err := tunnel.inbox.fetch(packets, sizes, eps); got != n || err != nil {
			t.Fatalf("%d of %d arrived: %v", got, n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("a burst of %d allocates %v times", n, allocs)
	}
}

// inboxOnly is a hub with a tunnel that has no device, so that the test has to
// empty the inbox; a burst for it, and buffers to fetch it to.
func inboxOnly(t testing.TB) (h *Hub, tunnel *Tunnel, burst, packets [][]byte) {
	t.Helper()
	const index, n = 7, 64
	h = NewHub(&wire{}, HubConfig{})
	tunnel = &Tunnel{hub: h}
	tunnel.inbox.arrived.L = &tunnel.inbox.mu
	tunnel.inbox.start()
	h.indices.add(&session{index: index, tunnel: tunnel, role: response})
	for range n {
		d := message(transport, 1400)
		d[receiverOffset] = index
		burst = append(burst, d)
		packets = append(packets, make([]byte, maxDatagram))
	}
	return h, tunnel, burst, packets
}

func FuzzReceive(f *testing.F) {
	for _, k := range []kind{0, initiation, response, cookieReply, transport, 5} {
		for _, size := range []int{0, 4, 31, 32, 64, 92, 148, 1400} {
			f.Add(message(k, max(4, size))[:size], uint8(size))
		}
	}
	p := newPair(f, HubConfig{})
	a, b := p.open(f)
	shake(f, a)
	b.sessions.mu.Lock()
	index := b.sessions.response.index
	b.sessions.mu.Unlock()
	elsewhere := netip.MustParseAddrPort("[2001:db8::1]:9")
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		known := bytes.Clone(data)
		if len(known) >= 12 { // an index that exists, in either place
			binary.LittleEndian.PutUint32(known[receiverOffset:], index)
			binary.LittleEndian.PutUint32(known[responseReceiverOffset:], index)
		}
		at := min(int(cut), len(data))
		burst := [][]byte{data, data[:at], known, known, data[at:]}
		before := p.b.total()
		p.b.Receive(elsewhere, addrB, burst)
		p.b.door.wait()
		if got := p.b.total() - before; got != uint64(len(burst)) {
			t.Errorf("%d of %d datagrams are accounted for", got, len(burst))
		}
	})
}

// total is how many datagrams were counted.
func (h *Hub) total() uint64 {
	var n uint64
	for i := range h.counters {
		n += h.counters[i].Load()
	}
	return n
}

func TestMAC1AgreesWithWireGuard(t *testing.T) {
	for range 20 {
		key, other := randomKey(t), randomKey(t)
		var macs wg.CookieGenerator
		macs.Init(wg.NoisePublicKey(key))
		m := message(initiation, initiationSize)
		for i := senderOffset; i < mac1Offset; i++ {
			m[i] = byte(rand.Uint32())
		}
		macs.AddMacs(m)
		for k, want := range map[Key]bool{key: true, other: false} {
			check, err := newMAC1(k)
			if err != nil {
				t.Fatal(err)
			}
			if got := check.matches(m); got != want {
				t.Errorf("mac1 matches: %v, want %v", got, want)
			}
		}
	}
}
