// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// pair is a pod on each of two nodes, joined by a tunnel.
type pair struct {
	planes [2]plane.Plane
	pods   [2]*namespace
}

// connect joins two pods, node first before the other one. The later one
// initiates.
func connect(t testing.TB, planes [2]plane.Plane, addrs [2]netip.Addr, payload plane.Payload, first int) *pair {
	t.Helper()
	c := &pair{planes: planes, pods: [2]*namespace{newNamespace(t), newNamespace(t)}}
	for _, i := range []int{first, 1 - first} {
		var port plane.Port = tunnel(i, vni, addrs)
		if payload == plane.IP {
			port = guarded(i, 1, addrs, i != first)
		}
		conn := &plane.Connection{ID: fmt.Sprint("pod-", i), Payload: payload, Client: c.pods[i].port(t, "nsm-1"), Endpoint: port}
		if i == 1 { // as at an endpoint's node
			conn.Client, conn.Endpoint = conn.Endpoint, conn.Client
		}
		_, err := planes[i].Join(t.Context(), conn)
		require.NoError(t, err)
		c.pods[i].addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
	}
	return c
}

func TestRemote(t *testing.T) {
	for _, underlay := range []struct {
		name  string
		addrs [2]netip.Addr
		link  int
		mtu   map[plane.Payload]int
	}{
		{"IPv4", addrs4, 1500, map[plane.Payload]int{plane.Ethernet: 1450, plane.IP: 1440}},
		{"IPv6", addrs6, 1500, map[plane.Payload]int{plane.Ethernet: 1430, plane.IP: 1420}},
		// In fragments, which both planes know how to take for WireGuard.
		{"IPv4 of MTU 1280", addrs4, 1280, map[plane.Payload]int{plane.IP: 1280}},
		{"IPv6 of MTU 1280", addrs6, 1280, map[plane.Payload]int{plane.IP: 1280}},
	} {
		for _, peer := range []string{"kernel plane", "kernel plane without WireGuard", "embedded plane"} {
			t.Run(fmt.Sprintf("over %s to %s", underlay.name, peer), func(t *testing.T) {
				u := newUnderlayOf(t, underlay.link)
				ours := u.start(t, 0, underlay.addrs)
				planes := [2]plane.Plane{ours}
				payloads := []plane.Payload{plane.Ethernet, plane.IP}
				switch peer {
				case "kernel plane":
					planes[1] = u.start(t, 1, underlay.addrs)
				case "embedded plane":
					planes[1] = u.startEmbedded(t, 1, underlay.addrs)
				default:
					ours.needWireGuard(t) // or it is the same as the first
					planes[1], payloads = u.start(t, 1, underlay.addrs, userspace), []plane.Payload{plane.IP}
				}
				for _, payload := range payloads {
					if underlay.mtu[payload] == 0 {
						continue
					}
					for _, first := range []int{0, 1} {
						t.Run(fmt.Sprintf("%s, node %d first", payload, first), func(t *testing.T) {
							c := connect(t, planes, underlay.addrs, payload, first)
							c.require(t, underlay.mtu[payload])
							for i, p := range planes {
								require.NoError(t, p.Leave(context.Background(), fmt.Sprint("pod-", i)))
								require.Empty(t, c.pods[i].links(t))
								require.Equal(t, []string{"eth0"}, u.nodes[i].links(t))
							}
						})
					}
				}
			})
		}
	}
}

// require has the pods talk to each other.
func (c *pair) require(t *testing.T, mtu int) {
	t.Helper()
	require.Equal(t, mtu, c.planes[0].Links()[0].MTU)
	c.pods[0].ping(t, "10.7.0.2", mtu-28)
	c.pods[1].ping(t, "10.7.0.1", mtu-28)
	c.pods[0].ping(t, "fd07::2", mtu-48)
	requireTooBig(t, c.pods[0], "10.7.0.2", mtu)

	l := c.planes[0].Links()[0]
	pod, tunnel := l.Client.Counters, l.Endpoint.Counters
	for way, count := range map[string]uint64{
		"from the pod": pod.RxPackets, "to the pod": pod.TxPackets,
		"from the tunnel": tunnel.RxPackets, "to the tunnel": tunnel.TxPackets,
	} {
		require.GreaterOrEqual(t, count, uint64(53), way) // the pings
	}
	stream(t, c.pods[0], c.pods[1], "10.7.0.2", 2<<20)
	stream(t, c.pods[1], c.pods[0], "fd07::1", 2<<20)
}

// requireTooBig sends one byte more than the MTU, which must not be sent.
func requireTooBig(t *testing.T, pod *namespace, to string, mtu int) {
	t.Helper()
	out, err := pod.command("ping", "-n", "-c", "1", "-W", "0.1", "-M", "do", "-s", fmt.Sprint(mtu-28+1), to).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Contains(t, string(out), fmt.Sprintf("mtu=%d", mtu))
}

func TestLocal(t *testing.T) {
	for _, payload := range []plane.Payload{plane.Ethernet, plane.IP} {
		t.Run(string(payload), func(t *testing.T) {
			u := newUnderlay(t)
			p := u.start(t, 0, addrs4)
			pods := [2]*namespace{newNamespace(t), newNamespace(t)}
			link, err := p.Join(t.Context(), &plane.Connection{
				ID: "c1", Payload: payload, Client: pods[0].port(t, "nsm-1"), Endpoint: pods[1].port(t, "nse-1"),
			})
			require.NoError(t, err)
			require.Equal(t, "veth", link.Path)
			require.Equal(t, plane.DefaultMTU, link.MTU)
			pods[0].addr(t, "nsm-1", "10.7.0.1/24")
			pods[1].addr(t, "nse-1", "10.7.0.2/24")
			pods[0].ping(t, "10.7.0.2", plane.DefaultMTU-28)
			require.GreaterOrEqual(t, p.Links()[0].Endpoint.Counters.RxPackets, uint64(20))
			require.NoError(t, p.Leave(t.Context(), "c1"))
			require.Empty(t, pods[0].links(t))
			require.Empty(t, pods[1].links(t))
		})
	}
}

func TestManyTunnels(t *testing.T) {
	t.Run("wireguard-go", func(t *testing.T) {
		u := newUnderlay(t)
		planes := [2]*Plane{u.start(t, 0, addrs4, userspace), u.start(t, 1, addrs4, userspace)}
		testManyTunnels(t, planes, func() {
			require.Len(t, planes[0].hubs.all, 1, "all tunnels of a node share one UDP port")
		})
		require.Empty(t, planes[0].hubs.all)
	})
	t.Run("Linux's WireGuard", func(t *testing.T) {
		u := newUnderlay(t)
		planes := [2]*Plane{u.start(t, 0, addrs4), u.start(t, 1, addrs4)}
		planes[0].needWireGuard(t)
		testManyTunnels(t, planes, func() { require.Empty(t, planes[0].hubs.all) })
		require.Empty(t, planes[0].wgPorts)
	})
}

func testManyTunnels(t *testing.T, planes [2]*Plane, joined func()) {
	const n = 5
	var pods [2][n]*namespace
	// Ports are agreed on before a tunnel is made.
	var ports [2][n]uint16
	for i := range ports {
		for k := range ports[i] {
			var err error
			ports[i][k], err = planes[i].WireGuardPort(fmt.Sprint(plane.IP, k))
			require.NoError(t, err)
		}
	}
	for _, i := range []int{1, 0} {
		for k := range n {
			pods[i][k] = newNamespace(t)
			for _, payload := range []plane.Payload{plane.IP, plane.Ethernet} {
				end := guarded(i, byte(k), addrs4, i == 0)
				end.Local = netip.AddrPortFrom(end.Local.Addr(), ports[i][k])
				end.Remote = netip.AddrPortFrom(end.Remote.Addr(), ports[1-i][k])
				var port plane.Port = end
				if payload == plane.Ethernet {
					port = tunnel(i, uint32(k), addrs4)
				}
				_, err := planes[i].Join(t.Context(), &plane.Connection{
					ID: fmt.Sprint(payload, k), Payload: payload, Client: pods[i][k].port(t, string(payload)), Endpoint: port,
				})
				require.NoError(t, err)
			}
			pods[i][k].addr(t, "IP", fmt.Sprintf("10.7.0.%d/24", i+1))
			pods[i][k].addr(t, "ETHERNET", fmt.Sprintf("10.8.0.%d/24", i+1))
		}
	}
	for k := range n {
		pods[0][k].ping(t, "10.7.0.2")
		pods[1][k].ping(t, "10.8.0.1")
	}
	require.Len(t, planes[0].Links(), 2*n)
	joined()
	require.NoError(t, planes[0].Leave(t.Context(), "IP0"))
	pods[0][1].ping(t, "10.7.0.2")
	require.NoError(t, planes[0].Close())
	for k := range n {
		require.Empty(t, pods[0][k].links(t))
	}
}

func TestJoinAgain(t *testing.T) {
	u := newUnderlay(t)
	p, peer := u.start(t, 0, addrs4), u.start(t, 1, addrs4)
	pod, far, near := newNamespace(t), newNamespace(t), newNamespace(t)
	for _, id := range []uint32{vni, vni + 1} {
		_, err := peer.Join(t.Context(), &plane.Connection{
			ID: fmt.Sprint(id), Payload: plane.Ethernet, Client: far.port(t, fmt.Sprint("nsm-", id)), Endpoint: tunnel(1, id, addrs4),
		})
		require.NoError(t, err)
		far.addr(t, fmt.Sprint("nsm-", id), fmt.Sprintf("10.%d.0.2/24", id))
	}
	conn := plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, vni, addrs4)}
	join := func(t *testing.T) plane.Link {
		t.Helper()
		l, err := p.Join(t.Context(), &conn)
		require.NoError(t, err)
		return l
	}
	join(t)
	pod.addr(t, "nsm-1", "10.42.0.1/24")
	pod.ping(t, "10.42.0.2")
	index := pod.index(t, "nsm-1")
	t.Run("the same is a no-op", func(t *testing.T) {
		join(t)
		require.Equal(t, index, pod.index(t, "nsm-1"))
		pod.ping(t, "10.42.0.2")
	})
	t.Run("another tunnel replaces the interface", func(t *testing.T) {
		conn.Endpoint = tunnel(0, vni+1, addrs4)
		join(t)
		pod.addr(t, "nsm-1", "10.43.0.1/24")
		pod.ping(t, "10.43.0.2")
	})
	t.Run("another MTU is set", func(t *testing.T) {
		conn.MTU = 1300
		require.Equal(t, 1300, join(t).MTU)
		l, err := pod.handle.LinkByName("nsm-1")
		require.NoError(t, err)
		require.Equal(t, 1300, l.Attrs().MTU)
	})
	t.Run("a pod of this node replaces the tunnel", func(t *testing.T) {
		conn.Endpoint = near.port(t, "nse-1")
		require.Equal(t, "veth", join(t).Path)
		pod.addr(t, "nsm-1", "10.7.0.1/24")
		near.addr(t, "nse-1", "10.7.0.2/24")
		pod.ping(t, "10.7.0.2")
	})
	t.Run("WireGuard replaces that", func(t *testing.T) {
		conn.Payload, conn.Endpoint = plane.IP, guarded(0, 1, addrs4, false)
		require.Equal(t, p.wireguardPath(), join(t).Path)
		require.Empty(t, near.links(t))
	})
	t.Run("leaving twice is no error", func(t *testing.T) {
		for range 2 {
			require.NoError(t, p.Leave(t.Context(), "c1"))
		}
		require.Empty(t, pod.links(t))
		require.Empty(t, p.claims)
		require.Empty(t, p.Links())
	})
}

// Many come and go at once, some under one id.
func TestConcurrently(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	fds := len(descriptors(t))
	var group sync.WaitGroup
	for i := range 24 {
		id := i / 2
		c := &plane.Connection{ID: fmt.Sprint(id), Payload: plane.Ethernet, Client: pods[0].port(t, fmt.Sprint("nsm-", id))}
		switch id % 3 {
		case 0:
			c.Endpoint = tunnel(0, uint32(id), addrs4)
		case 1:
			c.Endpoint = pods[1].port(t, fmt.Sprint("nse-", id))
		default:
			end := guarded(0, byte(id), addrs4, false)
			port, err := p.WireGuardPort(c.ID)
			require.NoError(t, err)
			end.Local = netip.AddrPortFrom(end.Local.Addr(), port)
			c.Payload, c.Endpoint = plane.IP, end
		}
		group.Go(func() {
			for range 5 {
				if _, err := p.Join(t.Context(), c); err != nil {
					t.Error(err)
				}
				p.Links()
				if err := p.Leave(t.Context(), c.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	pristine(t, p, fds, u.nodes[0], pods[:]...)
}
