// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

// forgetAll is what a kill does to a plane: its devices stay, and it knows nothing of
// them.
func (p *Plane) forgetAll() {
	for _, l := range p.links.All() {
		if l, ok := p.links.Get(l.ID); ok {
			if g, ok := l.way.(*guard); ok {
				_ = g.release() // it is the process
			}
		}
	}
	p.links = p.noLinks()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.claims)
	clear(p.wgPorts)
}

// What a tunnel's device says of itself is enough to adopt it, while packets go
// on.
func TestTunnelsThatWereLeft(t *testing.T) {
	for _, kind := range []plane.Kind{plane.KindVXLAN, plane.KindWireGuard} {
		for family, addrs := range map[string][2]netip.Addr{"IPv4": addrs4, "IPv6": addrs6} {
			t.Run(string(kind)+" over "+family, func(t *testing.T) {
				u := newUnderlay(t)
				p, peer := u.start(t, 0, addrs), u.start(t, 1, addrs)
				payload := plane.Ethernet
				if kind == plane.KindWireGuard {
					p.needWireGuard(t)
					payload = plane.IP
				}
				c := connect(t, [2]plane.Plane{p, peer}, addrs, payload, 1)
				c.pods[0].ping(t, "10.7.0.2")
				before, index := p.Links()[0], c.pods[0].index(t, "nsm-1")
				stop := watchedPing(t, c.pods[0], "10.7.0.2")
				p.forgetAll()

				again := u.start(t, 0, addrs)
				require.Nil(t, again.Left("pod-0"), "nobody has told of it")
				again.Recall(&plane.Connection{ID: "pod-0", Client: c.pods[0].port(t, "nsm-1")})
				left := again.Left("pod-0")
				requireSameEnd(t, before.Endpoint.Port, left)
				conn := &plane.Connection{ID: "pod-0", Payload: payload, Client: c.pods[0].port(t, "nsm-1"), Endpoint: left}
				_, err := again.Join(t.Context(), conn)
				require.NoError(t, err)
				require.Equal(t, index, c.pods[0].index(t, "nsm-1"))
				stop()
				require.Greater(t, again.Links()[0].Endpoint.Counters.RxPackets, before.Endpoint.Counters.RxPackets, "counters go on")

				require.NoError(t, again.Leave(t.Context(), "pod-0"))
				require.Empty(t, c.pods[0].links(t))
				require.Nil(t, again.Left("pod-0"))
			})
		}
	}
}

// requireSameEnd compares what was asked for with what is read from Linux, which
// stores private keys in the form that they are used in.
func requireSameEnd(t *testing.T, want, got plane.Port) {
	t.Helper()
	if w, ok := want.(plane.WireGuard); ok {
		g := got.(plane.WireGuard)
		require.Equal(t, wgtypes.Key(w.PrivateKey).PublicKey(), wgtypes.Key(g.PrivateKey).PublicKey())
		g.PrivateKey = w.PrivateKey
		got = g
	}
	require.Equal(t, want, got)
}

func TestNothingThatWasLeft(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod, near := newNamespace(t), newNamespace(t)
	_, err := p.Join(t.Context(), &plane.Connection{ID: "local", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: near.port(t, "nse-1")})
	require.NoError(t, err)
	gone := pod.port(t, "nsm-1")
	gone.NetNS, gone.Inode = "", 1
	foreign := pod.port(t, "nsm-1")
	foreign.Alias = "somebody else's"
	for name, at := range map[string]plane.Kernel{
		"a veth pair is no tunnel": pod.port(t, "nsm-1"), "no interface": pod.port(t, "nsm-2"), "the pod is gone": gone, "not ours": foreign,
	} {
		p.Recall(&plane.Connection{ID: "c1", Client: at})
		require.Nil(t, p.Left("c1"), name)
	}
}

// A peer that came back under another port is found again by the same device.
func TestWireGuardPeerThatMoved(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	p.needWireGuard(t)
	pod := newNamespace(t)
	end := guarded(0, 1, addrs4, false)
	conn := &plane.Connection{ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: end}
	_, err := p.Join(t.Context(), conn)
	require.NoError(t, err)
	index := pod.index(t, "nsm-1")
	p.forgetAll()

	end.Remote = netip.AddrPortFrom(end.Remote.Addr(), 51999)
	conn.Endpoint = end
	again := u.start(t, 0, addrs4)
	_, err = again.Join(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, index, pod.index(t, "nsm-1"))
	have, err := readWireGuard(pod.path, "nsm-1")
	require.NoError(t, err)
	require.Equal(t, "192.0.2.2:51999", have.Peers[0].Endpoint.String())

	// Other keys are another tunnel.
	again.forgetAll()
	conn.Endpoint = guarded(0, 2, addrs4, false)
	_, err = u.start(t, 0, addrs4).Join(t.Context(), conn)
	require.NoError(t, err)
	require.NotEqual(t, index, pod.index(t, "nsm-1"))
}

// What a WireGuard device looks like to an operator.
func TestWireGuardDevice(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	p.needWireGuard(t)
	pod := newNamespace(t)
	_, err := p.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.IP, MTU: 1400, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false),
	})
	require.NoError(t, err)
	shown := pod.run(t, "ip", "-d", "-o", "link", "show", "nsm-1")
	for _, want := range []string{"mtu 1400", ",UP,", "alias test nsm-1", "wireguard"} {
		require.Contains(t, shown, want)
	}
	require.Equal(t, []string{"eth0"}, u.nodes[0].links(t), "the device is in the pod")
	require.NotContains(t, pod.run(t, "ss", "-Huln"), ":51820", "the socket is the node's")
	_, err = p.Join(t.Context(), &plane.Connection{
		ID: "c2", Payload: plane.IP, Client: pod.port(t, "nsm-2"), Endpoint: guarded(0, 2, addrs4, false),
	})
	require.ErrorIs(t, err, plane.ErrUnsupported)
	require.ErrorContains(t, err, `connection "c1" has UDP port 51820`)
}

func TestWireGuardPorts(t *testing.T) {
	u := newUnderlay(t)
	shared := u.start(t, 0, addrs4, userspace)
	for _, id := range []string{"c1", "c2"} {
		port, err := shared.WireGuardPort(id)
		require.NoError(t, err)
		require.EqualValues(t, 51820, port)
	}

	// No device is needed to choose a port for one.
	p := u.start(t, 0, addrs4, userspace)
	p.wgDevices = true
	choose := func(id string) uint16 {
		port, err := p.WireGuardPort(id)
		require.NoError(t, err)
		return port
	}
	require.EqualValues(t, 51820, choose("c1"))
	require.EqualValues(t, 51821, choose("c2"))
	require.EqualValues(t, 51820, choose("c1"), "it stays the connection's")
	others, err := listen(u.nodes[0].path, netip.MustParseAddrPort("192.0.2.1:51822"))
	require.NoError(t, err)
	require.EqualValues(t, 51823, choose("c3"), "a program of the node has the one between")
	require.NoError(t, others.close())
	require.NoError(t, p.Leave(t.Context(), "c2"))
	require.EqualValues(t, 51821, choose("c4"))

	// A port that was promised long ago is free, unless its connection is joined.
	require.NoError(t, p.claim(new(link), "c1", udpClaim(51820)))
	for id, r := range p.wgPorts {
		r.until = r.until.Add(-2 * reservation)
		p.wgPorts[id] = r
	}
	require.EqualValues(t, 51821, choose("c5"))
	require.EqualValues(t, 51820, choose("c1"))
	require.NotContains(t, p.wgPorts, "c4")
}

func TestVLANThatWasLeft(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	if err := probeType("vlan")(p.node); err != nil {
		t.Skip(err)
	}
	pod := newNamespace(t)
	u.nodes[1].run(t, "ip", "link", "add", "v5", "link", "eth0", "type", "vlan", "id", "5")
	u.nodes[1].run(t, "ip", "link", "set", "v5", "up")
	u.nodes[1].addr(t, "v5", "10.7.0.2/24")
	conn := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5}}
	_, err := p.Join(t.Context(), conn)
	require.NoError(t, err)
	pod.addr(t, "nsm-1", "10.7.0.1/24")
	index := pod.index(t, "nsm-1")
	stop := watchedPing(t, pod, "10.7.0.2")
	p.forgetAll()
	again := u.start(t, 0, addrs4)
	_, err = again.Join(t.Context(), conn)
	require.NoError(t, err)
	stop()
	require.Equal(t, index, pod.index(t, "nsm-1"))
	require.NoError(t, again.Leave(t.Context(), "c1"))
	require.Empty(t, pod.links(t))
}

// Linux counts what WireGuard sends; padding and keepalives are all that a link's
// counters may have beyond the payload.
func TestWireGuardCounters(t *testing.T) {
	const count, size, padded = 20, 400 + 28, 432
	u := newUnderlay(t)
	p, peer := u.start(t, 0, addrs4), u.start(t, 1, addrs4)
	p.needWireGuard(t)
	c := connect(t, [2]plane.Plane{p, peer}, addrs4, plane.IP, 1)
	c.pods[0].ping(t, "10.7.0.2")
	before := p.Links()[0].Endpoint.Counters
	started := time.Now()
	c.pods[0].run(t, "ping", "-n", "-q", "-c", fmt.Sprint(count), "-l", fmt.Sprint(count), "-i", "3", "-s", fmt.Sprint(size-28), "10.7.0.2")
	after := p.Links()[0].Endpoint.Counters
	keepalives := uint64(time.Since(started)/wireguard.DefaultKeepalive) + 2
	for way, got := range map[string][2]uint64{
		"to the tunnel":   {after.TxPackets - before.TxPackets, after.TxBytes - before.TxBytes},
		"from the tunnel": {after.RxPackets - before.RxPackets, after.RxBytes - before.RxBytes},
	} {
		require.GreaterOrEqual(t, got[0], uint64(count), way)
		require.LessOrEqual(t, got[0], count+keepalives, way)
		require.GreaterOrEqual(t, got[1], uint64(count*size), way)
		require.LessOrEqual(t, got[1], uint64(count*padded), way)
	}
}
