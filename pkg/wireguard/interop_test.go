// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	wg "golang.zx2c4.com/wireguard/device"
)

var (
	insideOurs  = netip.MustParseAddr("10.77.0.1")
	insideStock = netip.MustParseAddr("10.77.0.2")
)

// interop is a tunnel between a hub in one namespace and wireguard-go in another.
type interop struct {
	ours   *Tunnel
	inside responder
	key    Key
	remote netip.AddrPort
	stock  *stock
}

func newInterop(t *testing.T, a, b string) *interop {
	t.Helper()
	requireStock(t)
	x, y := twoNodes(t, netip.MustParsePrefix(a), netip.MustParsePrefix(b))
	i := &interop{
		inside: newResponder(),
		key:    randomKey(t),
		remote: netip.AddrPortFrom(y.addr, 51820),
		stock:  &stock{node: y, link: fmt.Sprintf("wgt%08x", rand.Uint32()), private: randomKey(t)},
	}
	hub := x.hub(t)
	var err error
	i.ours, err = hub.Open(t.Context(), Config{
		PrivateKey: i.key, PeerKey: public(t, i.stock.private),
		Local: netip.AddrPortFrom(x.addr, 51820), Remote: i.remote,
	}, i.inside)
	if err != nil {
		t.Fatal(err)
	}
	i.stock.start(t, insideStock.String()+"/24", public(t, i.key), netip.AddrPortFrom(x.addr, 51820))
	t.Cleanup(func() { i.stock.stop(t) })
	return i
}

// pingBothWays lets either end ping the other.
func (i *interop) pingBothWays(t *testing.T, sequence uint16) {
	t.Helper()
	i.inside.ping(t, insideOurs, insideStock, sequence, 84)
	i.inside.ping(t, insideOurs, insideStock, sequence+1, 1400)
	i.pingFromStock(t)
}

func (i *interop) pingFromStock(t *testing.T) {
	t.Helper()
	i.stock.run(t, "ping", "-c", "3", "-i", "0.05", "-W", "5", "-s", "1300", insideOurs.String())
}

func TestInteropPing(t *testing.T) {
	for name, underlay := range map[string][2]string{
		"over IPv4": {"192.0.2.1/24", "192.0.2.2/24"},
		"over IPv6": {"2001:db8::1/64", "2001:db8::2/64"},
	} {
		t.Run("we initiate "+name, func(t *testing.T) {
			i := newInterop(t, underlay[0], underlay[1])
			handshake(t, i.ours)
			i.pingBothWays(t, 1)
			s, err := i.ours.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if s.Endpoint != i.remote || s.RxPackets < 5 || s.TxPackets < 5 || s.Dropped != 0 {
				t.Errorf("counters are %+v", s)
			}
		})
		t.Run("they initiate "+name, func(t *testing.T) {
			i := newInterop(t, underlay[0], underlay[1])
			i.pingFromStock(t)
			i.pingBothWays(t, 1)
		})
	}
}

func TestInteropRekey(t *testing.T) {
	i := newInterop(t, "192.0.2.1/24", "192.0.2.2/24")
	handshake(t, i.ours)
	i.pingBothWays(t, 1)
	for round := range uint16(3) {
		before := i.ours.peerIndex.Load()
		i.ours.rekey(t)
		eventually(t, "a session with another index", func() bool { return i.ours.peerIndex.Load() != before })
		i.pingBothWays(t, 10*(round+1))
	}
}

// rekey makes the tunnel forget its sessions and initiate another.
func (t *Tunnel) rekey(tb testing.TB) {
	tb.Helper()
	// No device consumes two initiations within this time, by its clock.
	time.Sleep(wg.HandshakeInitationRate)
	t.peer.ExpireCurrentKeypairs()
	if err := t.peer.SendHandshakeInitiation(false); err != nil {
		tb.Fatal(err)
	}
}

func TestInteropPeerRestartsWithItsKey(t *testing.T) {
	i := newInterop(t, "192.0.2.1/24", "192.0.2.2/24")
	handshake(t, i.ours)
	i.pingBothWays(t, 1)
	i.stock.stop(t)
	i.stock.start(t, insideStock.String()+"/24", public(t, i.key), i.ours.config.Local)
	i.pingFromStock(t)
	i.pingBothWays(t, 10)
}

func TestInteropPeerRoams(t *testing.T) {
	i := newInterop(t, "192.0.2.1/24", "192.0.2.2/24")
	handshake(t, i.ours)
	i.pingBothWays(t, 1)
	i.stock.run(t, "ip", "addr", "del", "192.0.2.2/24", "dev", "under")
	i.stock.run(t, "ip", "addr", "add", "192.0.2.99/24", "dev", "under")
	// Another port, too; this also makes wireguard-go forget its old source.
	command(t, "wg", "set", i.stock.link, "listen-port", "51999")
	i.pingFromStock(t)
	s, err := i.ours.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort("192.0.2.99:51999"); s.Endpoint != want {
		t.Fatalf("endpoint is %s, want %s", s.Endpoint, want)
	}
	i.pingBothWays(t, 10)
}

func TestInteropWrongKey(t *testing.T) {
	i := newInterop(t, "192.0.2.1/24", "192.0.2.2/24")
	command(t, "wg", "set", i.stock.link, "peer", public(t, i.key).String(), "remove")
	command(t, "wg", "set", i.stock.link, "peer", public(t, randomKey(t)).String(),
		"endpoint", i.ours.config.Local.String(), "allowed-ips", "0.0.0.0/0", "persistent-keepalive", "1")
	eventually(t, "initiation for another key is dropped", func() bool {
		return i.ours.hub.Counters().Dropped[DropUnknownKey] > 0
	})
	if out := command(t, "wg", "show", i.stock.link, "latest-handshakes"); !strings.HasSuffix(strings.TrimSpace(out), "\t0") {
		t.Errorf("stock shook hands: %s", out)
	}
}
