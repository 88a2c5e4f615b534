// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire joins hubs in memory: what one sends the other has received by the time
// Send returns.
type wire struct {
	mu   sync.RWMutex
	hubs map[netip.Addr]*Hub
	// filter may look at, keep or change a burst; nil drops it.
	filter atomic.Pointer[func(from, to netip.AddrPort, datagrams [][]byte) [][]byte]
}

func (w *wire) Send(local, remote netip.AddrPort, datagrams [][]byte) error {
	if f := w.filter.Load(); f != nil {
		if datagrams = (*f)(local, remote, datagrams); datagrams == nil {
			return nil
		}
	}
	w.mu.RLock()
	hub := w.hubs[remote.Addr()]
	w.mu.RUnlock()
	if hub != nil {
		hub.Receive(local, remote, datagrams)
	}
	return nil
}

func (w *wire) intercept(f func(from, to netip.AddrPort, datagrams [][]byte) [][]byte) {
	if f == nil {
		w.filter.Store(nil)
		return
	}
	w.filter.Store(&f)
}

func (w *wire) attach(addr netip.Addr, h *Hub) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hubs[addr] = h
}

var (
	addrA = netip.MustParseAddrPort("192.0.2.1:51820")
	addrB = netip.MustParseAddrPort("192.0.2.2:51820")
)

// pair is two hubs on one wire.
type pair struct {
	wire *wire
	a, b *Hub
}

func newPair(t testing.TB, cfg HubConfig) *pair {
	t.Helper()
	p := &pair{wire: &wire{hubs: map[netip.Addr]*Hub{}}}
	p.a, p.b = NewHub(p.wire, cfg), NewHub(p.wire, cfg)
	p.wire.attach(addrA.Addr(), p.a)
	p.wire.attach(addrB.Addr(), p.b)
	t.Cleanup(func() { p.a.Close(); p.b.Close() })
	return p
}

func randomKey(t testing.TB) Key {
	t.Helper()
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		t.Fatal(err)
	}
	return k
}

func public(t testing.TB, private Key) Key {
	t.Helper()
	k, err := private.Public()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// end is one end of a tunnel under test.
type end struct {
	*Tunnel
	inside *memory
	key    Key
}

// open makes a tunnel between the hubs and closes it with the test.
func (p *pair) open(t testing.TB) (a, b end) {
	t.Helper()
	ka, kb := randomKey(t), randomKey(t)
	a = openEnd(t, p.a, Config{PrivateKey: ka, PeerKey: public(t, kb), Local: addrA, Remote: addrB})
	b = openEnd(t, p.b, Config{PrivateKey: kb, PeerKey: public(t, ka), Local: addrB, Remote: addrA})
	return a, b
}

func openEnd(t testing.TB, h *Hub, cfg Config) end {
	t.Helper()
	inside := newMemory()
	tunnel, err := h.Open(t.Context(), cfg, inside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tunnel.Close)
	return end{Tunnel: tunnel, inside: inside, key: cfg.PrivateKey}
}

func shake(t testing.TB, e end) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := e.Handshake(ctx); err != nil {
		t.Fatal(err)
	}
}

// memory is an Inside for tests: packets go in by send and come out by receive.
type memory struct {
	out    chan []byte
	in     chan []byte
	closed chan struct{}
	once   sync.Once
	closes atomic.Int32
}

func newMemory() *memory {
	return &memory{out: make(chan []byte, 256), in: make(chan []byte, 4096), closed: make(chan struct{})}
}

func (m *memory) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case p := <-m.out:
		sizes[0] = copy(bufs[0][offset:], p)
		return 1, nil
	case <-m.closed:
		return 0, os.ErrClosed
	}
}

func (m *memory) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		select {
		case m.in <- append([]byte(nil), b[offset:]...):
		case <-m.closed:
			return i, os.ErrClosed
		}
	}
	return len(bufs), nil
}

func (m *memory) Close() error {
	m.closes.Add(1)
	m.once.Do(func() { close(m.closed) })
	return nil
}

// packet is an IPv4 packet with a number as its payload.
func packet(size int, number uint32) []byte {
	p := make([]byte, size)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(size))
	p[8], p[9] = 64, 17
	copy(p[12:], []byte{10, 0, 0, 1})
	copy(p[16:], []byte{10, 0, 0, 2})
	binary.BigEndian.PutUint32(p[20:], number)
	return p
}

// expect waits for the packet with the number and fails if another comes.
func (m *memory) expect(t testing.TB, number uint32) {
	t.Helper()
	select {
	case p := <-m.in:
		if got := binary.BigEndian.Uint32(p[20:]); got != number {
			t.Fatalf("received packet %d, want %d", got, number)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("packet %d did not arrive", number)
	}
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
