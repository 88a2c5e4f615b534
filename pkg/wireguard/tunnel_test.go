// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestPacketsCrossATunnelBothWays(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	for i := range uint32(100) {
		a.inside.out <- packet(1400, i)
		b.inside.expect(t, i)
		b.inside.out <- packet(64, i)
		a.inside.expect(t, i)
	}
	for _, e := range []end{a, b} {
		s, err := e.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if s.RxPackets != 100 || s.TxPackets != 100 || s.RxBytes+s.TxBytes != 100*1464 {
			t.Errorf("counters are %+v", s)
		}
		if s.LastHandshake.IsZero() || s.WireTxBytes < s.TxBytes || s.WireRxBytes < s.RxBytes {
			t.Errorf("device counters are %+v", s)
		}
		if s.Endpoint != e.config.Remote {
			t.Errorf("endpoint is %s, want %s", s.Endpoint, e.config.Remote)
		}
	}
}

func TestPacketStartsHandshakeByItself(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	b.inside.out <- packet(100, 7)
	a.inside.expect(t, 7)
}

func TestOpenAloneSendsNothing(t *testing.T) {
	p := newPair(t, HubConfig{})
	var sent atomic.Int32
	p.wire.intercept(func(_, _ netip.AddrPort, d [][]byte) [][]byte { sent.Add(1); return d })
	a, _ := p.open(t)
	if n := sent.Load(); n != 0 {
		t.Fatalf("%d bursts were sent before a handshake was asked for", n)
	}
	shake(t, a)
	if sent.Load() == 0 {
		t.Fatal("a handshake sent nothing")
	}
}

func TestKeepalivesAreOnAfterHandshakeOnBothEnds(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, b := p.open(t)
	shake(t, a)
	for _, e := range []end{a, b} {
		eventually(t, "keepalive interval is 10 s", func() bool {
			text, err := e.wg.IpcGet()
			return err == nil && strings.Contains(text, "persistent_keepalive_interval=10\n")
		})
	}
}

func TestHandshakeSucceedsWhenPeerComesLate(t *testing.T) {
	p := newPair(t, HubConfig{})
	ka, kb := randomKey(t), randomKey(t)
	a := openEnd(t, p.a, Config{PrivateKey: ka, PeerKey: public(t, kb), Local: addrA, Remote: addrB})
	var once sync.Once
	late := make(chan struct{})
	p.wire.intercept(func(_, _ netip.AddrPort, d [][]byte) [][]byte {
		once.Do(func() { close(late) })
		return d
	})
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		done <- a.Handshake(ctx)
	}()
	<-late
	eventually(t, "initiation was dropped", func() bool { return p.b.Counters().Dropped[DropUnknownKey] > 0 })
	openEnd(t, p.b, Config{PrivateKey: kb, PeerKey: public(t, ka), Local: addrB, Remote: addrA})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("established %v after the first initiation", time.Since(start))
}

func TestHandshakeErrorSaysWhatToCheck(t *testing.T) {
	p := newPair(t, HubConfig{})
	stranger := public(t, randomKey(t))
	a := openEnd(t, p.a, Config{PrivateKey: randomKey(t), PeerKey: stranger, Local: addrA, Remote: addrB})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := a.Handshake(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v, want deadline exceeded", err)
	}
	for _, want := range []string{addrB.String(), "51820", "firewall", stranger.String(), a.PublicKey().String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if strings.Contains(err.Error(), a.key.String()) {
		t.Errorf("error %q holds the private key", err)
	}
}

func TestHandshakeOutlivesTransportErrors(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, _ := p.open(t)
	flaky := &failing{Transport: p.wire}
	flaky.fail.Store(2)
	p.a.transport = flaky
	shake(t, a)
	s, err := a.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.SendErrors != 2 {
		t.Errorf("%d send errors were counted, want 2", s.SendErrors)
	}
}

// failing is a transport whose next sends fail.
type failing struct {
	Transport
	fail atomic.Int32
}

func (f *failing) Send(local, remote netip.AddrPort, datagrams [][]byte) error {
	if f.fail.Add(-1) >= 0 {
		return errors.New("no next hop")
	}
	return f.Transport.Send(local, remote, datagrams)
}

func TestClosedTunnelFailsHandshake(t *testing.T) {
	p := newPair(t, HubConfig{})
	a := openEnd(t, p.a, Config{PrivateKey: randomKey(t), PeerKey: public(t, randomKey(t)), Local: addrA, Remote: addrB})
	sent := make(chan struct{}, 16)
	p.wire.intercept(func(_, _ netip.AddrPort, d [][]byte) [][]byte { sent <- struct{}{}; return d })
	done := make(chan error, 1)
	go func() { done <- a.Handshake(context.Background()) }()
	<-sent
	a.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatalf("error is %v, want ErrClosed", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	key, peer := randomKey(t), public(t, randomKey(t))
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no private key":      {func(c *Config) { c.PrivateKey = Key{} }, "private key is missing"},
		"no peer key":         {func(c *Config) { c.PeerKey = Key{} }, "peer key is missing"},
		"itself as peer":      {func(c *Config) { c.PeerKey = public(t, key) }, "peer key is our own"},
		"no remote":           {func(c *Config) { c.Remote = netip.AddrPort{} }, "remote endpoint"},
		"remote port 0":       {func(c *Config) { c.Remote = netip.AddrPortFrom(c.Remote.Addr(), 0) }, "remote endpoint"},
		"no local":            {func(c *Config) { c.Local = netip.AddrPort{} }, "local endpoint"},
		"mixed IP versions":   {func(c *Config) { c.Local = netip.MustParseAddrPort("[::1]:1") }, "different IP versions"},
		"MTU of no IP packet": {func(c *Config) { c.MTU = 20 }, "mtu 20"},
		"keepalive of a day":  {func(c *Config) { c.Keepalive = 24 * time.Hour }, "keepalive of 24h0m0s"},
		"MTU beyond UDP":      {func(c *Config) { c.MTU = 65535 }, "mtu 65535"},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			hub := NewHub(&wire{}, HubConfig{})
			cfg := Config{PrivateKey: key, PeerKey: peer, Local: addrA, Remote: addrB}
			c.change(&cfg)
			inside := newMemory()
			_, err := hub.Open(t.Context(), cfg, inside)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q in it", err, c.want)
			}
			if n := inside.closes.Load(); n != 1 {
				t.Errorf("inside was closed %d times, want once", n)
			}
			if n := len(hub.rosters.keys); n != 0 {
				t.Errorf("%d tunnels stay with the hub", n)
			}
		})
	}
}

func TestOpenRefusesKeyInUse(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, _ := p.open(t)
	inside := newMemory()
	cfg := Config{PrivateKey: a.key, PeerKey: public(t, randomKey(t)), Local: addrA, Remote: addrB}
	if _, err := p.a.Open(t.Context(), cfg, inside); !errors.Is(err, ErrKeyInUse) {
		t.Fatalf("error is %v, want ErrKeyInUse", err)
	}
	if n := inside.closes.Load(); n != 1 {
		t.Errorf("inside was closed %d times, want once", n)
	}
	a.Close()
	if b, err := p.a.Open(t.Context(), cfg, newMemory()); err != nil {
		t.Fatalf("after the other was closed: %v", err)
	} else {
		b.Close()
	}
}

func TestCloseFreesEverything(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := newPair(t, HubConfig{})
	for range 3 {
		a, b := p.open(t)
		shake(t, a)
		a.inside.out <- packet(100, 1)
		b.inside.expect(t, 1)
		var closing sync.WaitGroup
		for range 3 {
			closing.Go(a.Close)
			closing.Go(b.Close)
		}
		closing.Wait()
		for _, e := range []end{a, b} {
			if n := e.inside.closes.Load(); n != 1 {
				t.Errorf("inside was closed %d times, want once", n)
			}
		}
	}
	for name, h := range map[string]*Hub{"a": p.a, "b": p.b} {
		if h.indices.live != 0 || len(h.rosters.keys) != 0 || len(h.rosters.at) != 0 || len(h.rosters.all.list) != 0 {
			t.Errorf("hub %s keeps %d indices, %d keys, %d addresses", name, h.indices.live, len(h.rosters.keys), len(h.rosters.at))
		}
	}
	p.a.Close()
	p.b.Close()
	if _, err := p.a.Open(t.Context(), Config{PrivateKey: randomKey(t), PeerKey: randomKey(t), Local: addrA, Remote: addrB}, newMemory()); err == nil {
		t.Error("a closed hub opened a tunnel")
	}
}

func TestClosedTunnelsAreCollected(t *testing.T) {
	p := newPair(t, HubConfig{})
	const tunnels = 3
	var collected atomic.Int32
	for range tunnels {
		ka, kb := randomKey(t), randomKey(t)
		open := func(h *Hub, cfg Config) *Tunnel {
			tunnel, err := h.Open(t.Context(), cfg, newMemory())
			if err != nil {
				t.Fatal(err)
			}
			runtime.AddCleanup(tunnel, func(int) { collected.Add(1) }, 0)
			return tunnel
		}
		a := open(p.a, Config{PrivateKey: ka, PeerKey: public(t, kb), Local: addrA, Remote: addrB})
		b := open(p.b, Config{PrivateKey: kb, PeerKey: public(t, ka), Local: addrB, Remote: addrA})
		shake(t, end{Tunnel: a})
		a.Close()
		b.Close()
	}
	eventually(t, "all tunnels are collected", func() bool {
		runtime.GC()
		return collected.Load() == 2*tunnels
	})
}

func TestTunnelIsDoneWhenInsideFails(t *testing.T) {
	p := newPair(t, HubConfig{})
	a, _ := p.open(t)
	if err := a.inside.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("tunnel is not done")
	}
	a.Close()
}

// TestCrossingHandshakesSettleAtOnce lets both ends initiate before either has
// received anything.
func TestCrossingHandshakesSettleAtOnce(t *testing.T) {
	p := newPair(t, HubConfig{})
	// For slow machines, and far less than the five seconds that it is about.
	p.a.crossingWindow, p.b.crossingWindow = 200*time.Millisecond, 200*time.Millisecond
	a, b := p.open(t)
	var mu sync.Mutex
	var kept []func()
	both := make(chan struct{})
	p.wire.intercept(func(from, to netip.AddrPort, d [][]byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		message := append([]byte(nil), d[0]...)
		deliver := func() { p.wire.hubs[to.Addr()].Receive(from, to, [][]byte{message}) }
		switch {
		case len(kept) < 2:
			if kept = append(kept, deliver); len(kept) == 2 {
				close(both)
			}
			return nil
		case kind(message[0]) == response:
			// Long enough for the other end to have consumed an initiation.
			time.AfterFunc(50*time.Millisecond, deliver)
			return nil
		}
		return d
	})
	start := time.Now()
	a.inside.out <- packet(100, 1)
	b.inside.out <- packet(100, 2)
	<-both
	for _, release := range kept {
		release()
	}
	b.inside.expect(t, 1)
	a.inside.expect(t, 2)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("packets took %v", took)
	} else {
		t.Logf("packets took %v", took)
	}
}

// TestTheEndWhosePeerBeginsWaits has something to send at the end that is not to
// begin. It must not cross the handshake of the other, and still begin if that
// never comes.
func TestTheEndWhosePeerBeginsWaits(t *testing.T) {
	for name, peerBegins := range map[string]bool{"the peer begins": true, "the peer does not": false} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, HubConfig{})
			ka, kb := randomKey(t), randomKey(t)
			a := openEnd(t, p.a, Config{PrivateKey: ka, PeerKey: public(t, kb), Local: addrA, Remote: addrB})
			b := openEnd(t, p.b, Config{PrivateKey: kb, PeerKey: public(t, ka), Local: addrB, Remote: addrA, PeerBegins: true})
			var initiations atomic.Int64
			p.wire.intercept(func(from, _ netip.AddrPort, d [][]byte) [][]byte {
				if from == addrB && kind(d[0][0]) == initiation {
					initiations.Add(1)
				}
				return d
			})
			start := time.Now()
			b.inside.out <- packet(100, 2)
			if peerBegins {
				eventually(t, "an initiation waits", func() bool {
					b.courtesy.Lock()
					defer b.courtesy.Unlock()
					return b.courtesy.kept != nil
				})
				handshake(t, a.Tunnel)
			}
			a.inside.expect(t, 2)
			if took := time.Since(start); took > 2*time.Second || !peerBegins && took < courtesyTime {
				t.Errorf("the packet took %v", took)
			}
			if n := initiations.Load(); (n == 0) != peerBegins {
				t.Errorf("%d initiations", n)
			}
		})
	}
}

// TestBothEndsBegin has one end come up some time after the other, and both call
// Handshake, as processes do that resume their tunnels after a restart.
func TestBothEndsBegin(t *testing.T) {
	for later := time.Duration(0); later < 120*time.Millisecond; later += 15 * time.Millisecond {
		var both sync.WaitGroup
		for _, greater := range []bool{false, true} { // is the public key of the first
			both.Go(func() {
				if took := bothBegin(t, greater, later); took > 4*time.Second {
					t.Errorf("with the greater key first %v, the other %v later: the handshake took %v", greater, later, took)
				}
			})
		}
		both.Wait()
	}
}

// bothBegin returns how long it took until both ends had a session.
func bothBegin(t *testing.T, greater bool, later time.Duration) time.Duration {
	const delay = 3 * time.Millisecond
	p := newPair(t, HubConfig{})
	// For slow machines.
	p.a.crossingWindow, p.b.crossingWindow = 100*time.Millisecond, 100*time.Millisecond
	p.wire.intercept(func(from, to netip.AddrPort, d [][]byte) [][]byte {
		for _, message := range d {
			message = bytes.Clone(message)
			time.AfterFunc(delay, func() { p.wire.hubs[to.Addr()].Receive(from, to, [][]byte{message}) })
		}
		return nil
	})
	ka, kb := randomKey(t), randomKey(t)
	if a, b := public(t, ka), public(t, kb); bytes.Compare(a[:], b[:]) > 0 != greater {
		ka, kb = kb, ka
	}
	var both sync.WaitGroup
	begin := func(end end) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := end.Handshake(ctx); err != nil {
			t.Error(err)
		}
	}
	start := time.Now()
	a := openEnd(t, p.a, Config{PrivateKey: ka, PeerKey: public(t, kb), Local: addrA, Remote: addrB})
	both.Go(func() { begin(a) })
	time.Sleep(later)
	b := openEnd(t, p.b, Config{PrivateKey: kb, PeerKey: public(t, ka), Local: addrB, Remote: addrA})
	both.Go(func() { begin(b) })
	both.Wait()
	return time.Since(start)
}
