// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quick is a tick for tests that would wait for long.
const quick = 200 * time.Millisecond

var (
	ours4 = netip.MustParseAddr("10.0.0.1")
	ours6 = netip.MustParseAddr("2001:db8::1")
)

// families are the same link in the words of both.
var families = map[string]struct {
	ours                     netip.Addr
	peer, far, farNet, extra string
	ip                       string
}{
	"IPv4": {ours4, "10.0.0.2", "10.9.0.1", "10.9.0.0/16", "10.0.0.3", "ip"},
	"IPv6": {ours6, "2001:db8::2", "2001:db8:9::1", "2001:db8:9::/48", "2001:db8::3", "ip -6"},
}

func TestOnLinkNeighbourIsResolvedAtOnce(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			us, peer := pair(t)
			u := open(t, Config{NetNS: us, Tunnel: f.ours})
			h := hop(t, u, f.peer)
			took := becomes(t, h, soon, "resolution", leadsTo(macOf(t, peer, "eth1")))
			t.Logf("resolved after %v", took)
			require.Equal(t, macOf(t, us, "eth0"), h.Load().Src)
			require.Equal(t, 1500, h.Load().MTU)
			require.Empty(t, h.Load().Tags)
			require.NoError(t, h.Wait(t.Context()))
			status := u.Hops()
			require.Len(t, status, 1)
			require.Equal(t, "REACHABLE", status[0].State)
			require.Equal(t, f.peer, status[0].Via.String())
		})
	}
}

func TestRoutesAreFollowed(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			us, peer := pair(t)
			cable(t, us, "eth9", node(t), "eth2")
			// The peer is two routers, by two addresses.
			sh(t, peer, f.ip+" addr add "+f.extra+" dev eth1")
			u := open(t, Config{NetNS: us, Tunnel: f.ours})
			mac := macOf(t, peer, "eth1")

			h := hop(t, u, f.far)
			becomes(t, h, soon, "no route yet", func(h *Hop) bool { return !h.Valid && h.Why != "" })
			require.Contains(t, h.Load().Why, "no route")

			took := time.Duration(0)
			step := func(what, script string, is func(*Hop) bool) {
				t.Helper()
				sh(t, us, script)
				took = becomes(t, h, soon, what, is)
				t.Logf("%s: followed after %v", what, took)
			}
			via := func(addr string) func(*Hop) bool {
				return func(hop *Hop) bool {
					return hop.Valid && hop.Dst == mac && u.Hops()[0].Via.String() == addr
				}
			}
			step("route by a gateway", f.ip+" route add "+f.farNet+" via "+f.peer, via(f.peer))
			step("another gateway", f.ip+" route replace "+f.farNet+" via "+f.extra, via(f.extra))
			step("a smaller MTU of the route", f.ip+" route replace "+f.farNet+" via "+f.extra+" mtu 1400", func(h *Hop) bool { return h.Valid && h.MTU == 1400 })
			step("route gone", f.ip+" route del "+f.farNet, func(h *Hop) bool { return !h.Valid })
			step("default route", f.ip+" route add default via "+f.peer, via(f.peer))
			step("a better route over another link", f.ip+" route add "+f.farNet+" dev eth9",
				via(f.peer)) // the default route still leads over the uplink
			step("no route over the uplink any more", f.ip+" route del default", func(h *Hop) bool { return !h.Valid })
			require.Contains(t, h.Load().Why, "no route over eth0")
		})
	}
}

func TestAddressOfThisNodeIsNoRemote(t *testing.T) {
	us, _ := pair(t)
	sh(t, us, "ip addr add 10.0.0.77/32 dev lo")
	h := hop(t, open(t, Config{NetNS: us, Tunnel: ours4}), "10.0.0.77")
	require.Contains(t, h.Load().Why, "one of this node")
}

func TestNeighbourThatAppearsLater(t *testing.T) {
	t.Parallel() // waits more than it works
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			us, peer := pair(t)
			u := open(t, Config{NetNS: us, Tunnel: f.ours, tick: quick})
			h := hop(t, u, f.extra)
			require.Contains(t, h.Load().Why, "does not answer")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			err := h.Wait(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, f.extra+" does not answer on eth0")

			sh(t, peer, f.ip+" addr add "+f.extra+" dev eth1")
			took := becomes(t, h, soon, "the neighbour is there", leadsTo(macOf(t, peer, "eth1")))
			t.Logf("found %v after it appeared", took)
		})
	}
}

func TestNeighbourChangesItsAddress(t *testing.T) {
	t.Parallel() // waits more than it works
	const changed = "02:00:5e:00:00:99"
	want := [6]byte{0x02, 0, 0x5e, 0, 0, 0x99}
	for name, f := range families {
		for what, c := range map[string]struct {
			suspect      bool
			tick, within time.Duration
		}{
			"in silence": {false, quick, 2 * time.Second},
			// A second is how long the kernel holds on to a fresh ARP entry
			// (neigh/*/locktime).
			"while its frames are seen": {true, 0, 2500 * time.Millisecond},
			// As users see it; for one family is enough.
			"in silence, at the usual pace": {false, 0, (confirmAfter + answerWithin + 2) * defaultTick},
		} {
			if c.tick == 0 && !c.suspect && name == "IPv6" {
				continue
			}
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				us, peer := pair(t)
				u := open(t, Config{NetNS: us, Tunnel: f.ours, tick: c.tick})
				h := hop(t, u, f.peer)
				becomes(t, h, soon, "resolution", leadsTo(macOf(t, peer, "eth1")))
				if c.suspect {
					time.Sleep(1100 * time.Millisecond) // an entry that is no longer fresh
				}
				// Without our link noticing: no gratuitous ARP, nothing sent.
				sh(t, peer, "sysctl -qw net.ipv4.conf.all.arp_notify=0 net.ipv6.conf.all.ndisc_notify=0; ip link set eth1 address "+changed)
				stop := make(chan struct{})
				var frames sync.WaitGroup
				if c.suspect {
					frames.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
								h.Suspect(want)
								time.Sleep(poll)
							}
						}
					})
				}
				took := becomes(t, h, c.within, "healing", leadsTo(want))
				close(stop)
				frames.Wait()
				t.Logf("healed after %v", took)
			})
		}
	}
}

func TestSuspicionWithoutCauseIsPatient(t *testing.T) {
	t.Parallel() // waits more than it works
	us, peer := pair(t)
	u := open(t, Config{NetNS: us, Tunnel: ours4, tick: quick})
	h := hop(t, u, "10.0.0.2")
	becomes(t, h, soon, "resolution", leadsTo(macOf(t, peer, "eth1")))
	asked := func() int {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.neighbours[netip.MustParseAddr("10.0.0.2")].inquiry.times
	}
	end := time.Now().Add(5 * quick / 2)
	for time.Now().Before(end) {
		h.Suspect([6]byte{2, 2, 2, 2, 2, 2}) // say, one router of a pair
		time.Sleep(poll)
		require.True(t, h.Load().Valid)
	}
	require.Equal(t, 2, asked(), "questions in 2.5 ticks: at once and a tick later")
}

func TestNeighbourThatTheKernelForgets(t *testing.T) {
	t.Parallel() // waits more than it works
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			us, peer := pair(t)
			u := open(t, Config{NetNS: us, Tunnel: f.ours, tick: quick})
			h := hop(t, u, f.peer)
			mac := macOf(t, peer, "eth1")
			becomes(t, h, soon, "resolution", leadsTo(mac))
			stop := make(chan struct{})
			var watch sync.WaitGroup
			watch.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if hop := h.Load(); !leadsTo(mac)(hop) {
							t.Errorf("frames would be lost: %+v", hop)
							return
						}
						runtime.Gosched()
					}
				}
			})
			// As under pressure of a full table (net.ipv4.neigh.default.gc_thresh3).
			sh(t, us, "for i in 1 2 3 4 5; do "+f.ip+" neigh flush dev eth0; done")
			require.Eventually(t, func() bool { return u.Hops()[0].State == "REACHABLE" }, soon, poll)
			close(stop)
			watch.Wait()

			sh(t, peer, "ip addr flush dev eth1")
			sh(t, us, f.ip+" neigh flush dev eth0")
			took := becomes(t, h, 4*soon, "silence", func(h *Hop) bool { return !h.Valid })
			t.Logf("given up %v after the neighbour was gone and forgotten", took)
		})
	}
}

func TestPacketPathAllocatesNothing(t *testing.T) {
	us, peer := pair(t)
	h := hop(t, open(t, Config{NetNS: us, Tunnel: ours4}), "10.0.0.2")
	becomes(t, h, soon, "resolution", leadsTo(macOf(t, peer, "eth1")))
	require.Zero(t, testing.AllocsPerRun(1000, func() { h.Suspect(h.Load().Dst) }))
	h.Suspect([6]byte{2, 2, 2, 2, 2, 2})
	require.Zero(t, testing.AllocsPerRun(1000, func() { h.Suspect([6]byte{2, 2, 2, 2, 2, 2}) }))
}

func TestPermanentNeighbourIsLeftAlone(t *testing.T) {
	us, _ := pair(t)
	sh(t, us, "ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:42 dev eth0 nud permanent")
	u := open(t, Config{NetNS: us, Tunnel: ours4})
	h := hop(t, u, "10.0.0.2")
	set := [6]byte{2, 0, 0, 0, 0, 0x42}
	require.True(t, leadsTo(set)(h.Load()))
	h.Suspect([6]byte{2, 2, 2, 2, 2, 2})
	require.Eventually(t, func() bool { return !h.suspected.Load() }, soon, poll)
	require.True(t, leadsTo(set)(h.Load()))
	sh(t, us, "ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:43 dev eth0 nud permanent")
	t.Logf("followed after %v", becomes(t, h, soon, "changed by hand", leadsTo([6]byte{2, 0, 0, 0, 0, 0x43})))
}

func TestLinkIsFollowed(t *testing.T) {
	us, peer := pair(t)
	u := open(t, Config{NetNS: us, Tunnel: ours4})
	h := hop(t, u, "10.0.0.2")
	mac := macOf(t, peer, "eth1")
	becomes(t, h, soon, "resolution", leadsTo(mac))

	sh(t, us, "ip link set eth0 mtu 1400")
	t.Logf("MTU after %v", becomes(t, h, soon, "MTU", func(h *Hop) bool { return h.MTU == 1400 }))
	require.Equal(t, 1400, u.MTU())
	sh(t, us, "ip link set eth0 address 02:00:00:00:aa:01")
	t.Logf("address after %v", becomes(t, h, soon, "address", func(h *Hop) bool { return h.Src == [6]byte{2, 0, 0, 0, 0xaa, 1} }))

	sh(t, us, "ip link set eth0 down")
	t.Logf("down after %v", becomes(t, h, soon, "down", func(h *Hop) bool { return !h.Valid }))
	require.Contains(t, h.Load().Why, "down")
	require.False(t, u.Up())
	sh(t, us, "ip link set eth0 up")
	t.Logf("up after %v", becomes(t, h, soon, "up", leadsTo(mac)))

	sh(t, peer, "ip link set eth1 down")
	t.Logf("no carrier after %v", becomes(t, h, soon, "carrier lost", func(h *Hop) bool { return !h.Valid }))
	sh(t, peer, "ip link set eth1 up")
	t.Logf("carrier after %v", becomes(t, h, soon, "carrier", leadsTo(mac)))

	sh(t, us, "ip addr del 10.0.0.1/24 dev eth0")
	becomes(t, h, soon, "tunnel address gone", func(h *Hop) bool { return !h.Valid })
	sh(t, us, "ip addr add 10.0.0.1/24 dev eth0")
	becomes(t, h, soon, "tunnel address back", leadsTo(mac))

	sh(t, us, "ip link del eth0")
	becomes(t, h, soon, "link gone", func(h *Hop) bool { return !h.Valid })
}

func TestLostNotificationsAreMadeUpFor(t *testing.T) {
	us, _ := pair(t)
	sh(t, us, "ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:01 dev eth0 nud permanent")
	u := open(t, Config{NetNS: us, Tunnel: ours4, receiveBuffer: 4096})
	h := hop(t, u, "10.0.0.2")
	becomes(t, h, soon, "resolution", leadsTo([6]byte{2, 0, 0, 0, 0, 1}))

	// While the reader is held up, more happens than its buffer takes.
	u.mu.Lock()
	sh(t, us, `for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do echo neigh replace 10.0.0.1$i$j lladdr 02:00:00:00:01:$i$j dev eth0 nud permanent; done; done | ip -batch -
ip neigh replace 10.0.0.2 lladdr 02:00:00:00:00:07 dev eth0 nud permanent; ip link set eth0 mtu 1300`)
	u.mu.Unlock()
	becomes(t, h, soon, "resync", func(h *Hop) bool { return leadsTo([6]byte{2, 0, 0, 0, 0, 7})(h) && h.MTU == 1300 })
	require.Positive(t, u.lost.Load(), "no notification was lost, so this test shows nothing")
}

func TestReleaseLeavesNothing(t *testing.T) {
	us, peer := pair(t)
	u := open(t, Config{NetNS: us, Tunnel: ours4})
	a, b := hop(t, u, "10.0.0.2"), hop(t, u, "10.0.0.2")
	c := hop(t, u, "10.0.0.3")
	becomes(t, a, soon, "resolution", leadsTo(macOf(t, peer, "eth1")))
	require.Equal(t, 2, u.Hops()[0].Users)
	a.Release()
	a.Release()
	require.Len(t, u.Hops(), 2, "one release, however often, takes one user")
	require.True(t, b.Load().Valid)
	b.Release()
	c.Release()
	require.Empty(t, u.hops)
	require.Empty(t, u.neighbours)
	require.True(t, b.Load().Valid, "what was known is still there")

	require.NoError(t, u.Close())
	require.NoError(t, u.Close())
	_, err := u.NextHop(netip.MustParseAddr("10.0.0.2"))
	require.ErrorIs(t, err, ErrClosed)
}

func TestBadRemotes(t *testing.T) {
	us, _ := pair(t)
	u := open(t, Config{NetNS: us, Tunnel: ours4})
	for remote, says := range map[string]string{
		"2001:db8::2":     "another family",
		"10.0.0.1":        "our own tunnel address",
		"224.0.0.1":       "global unicast",
		"0.0.0.0":         "global unicast",
		"127.0.0.1":       "global unicast",
		"255.255.255.255": "global unicast",
		"fe80::1":         "global unicast",
	} {
		_, err := u.NextHop(netip.MustParseAddr(remote))
		require.ErrorContains(t, err, says, remote)
	}
	_, err := u.NextHop(netip.Addr{})
	require.Error(t, err)
}

func TestManyUsersAtOnce(t *testing.T) {
	us, _ := pair(t)
	u := open(t, Config{NetNS: us, Tunnel: ours4})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 50 {
				h, err := u.NextHop(netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + (i+j)%4)}))
				if err != nil {
					t.Error(err)
					return
				}
				_ = h.Load()
				h.Suspect([6]byte{byte(i)})
				_ = u.Hops()
				h.Release()
			}
		})
	}
	group.Wait()
	require.Empty(t, u.hops)
	require.Empty(t, u.neighbours)
}

func BenchmarkLoad(b *testing.B) {
	us, _ := pair(b)
	h := hop(b, open(b, Config{NetNS: us, Tunnel: ours4}), "10.0.0.2")
	b.ReportAllocs()
	for b.Loop() {
		if h.Load() == nil {
			b.Fatal("nil")
		}
	}
}
