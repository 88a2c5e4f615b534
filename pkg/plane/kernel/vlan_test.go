// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// needVLAN skips the test where Linux has no VLAN interfaces; test/vm runs it
// where it has.
func (p *Plane) needVLAN(t testing.TB) {
	t.Helper()
	if err := probeType("vlan")(p.node); err != nil {
		t.Skip(err)
	}
}

// vlanHost puts node 1 on a VLAN of the underlay.
func (u *underlay) vlanHost(t testing.TB, prefixes ...string) {
	t.Helper()
	u.nodes[1].run(t, "ip", "link", "add", "v5", "link", "eth0", "type", "vlan", "id", "5")
	u.nodes[1].run(t, "ip", "link", "set", "v5", "up")
	u.nodes[1].addr(t, "v5", prefixes...)
}

// A VLAN behind the uplink, where the kernel has VLAN interfaces.
func TestVLAN(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod := newNamespace(t)
	conn := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5}}
	if probeType("vlan")(p.node) != nil {
		_, err := p.Join(t.Context(), conn)
		require.ErrorIs(t, err, plane.ErrUnsupported)
		require.ErrorContains(t, err, "8021q")
		require.Empty(t, pod.links(t))
	}
	p.needVLAN(t)
	u.vlanHost(t, "10.7.0.2/24", "fd07::2/64")
	link, err := p.Join(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, 1500, link.MTU)
	pod.addr(t, "nsm-1", "10.7.0.1/24", "fd07::1/64")
	pod.ping(t, "10.7.0.2", 1472)
	u.nodes[1].ping(t, "fd07::1")
	require.Contains(t, pod.run(t, "ip", "-d", "-o", "link", "show", "nsm-1"), "vlan protocol 802.1Q id 5")
	require.NoError(t, p.Leave(t.Context(), "c1"))
	require.Empty(t, pod.links(t))
}

// Counters are of whole frames without the tag, both ways.
func TestVLANCounters(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	p.needVLAN(t)
	u.vlanHost(t, "10.7.0.2/24")
	pod := newNamespace(t)
	_, err := p.Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5}})
	require.NoError(t, err)
	pod.addr(t, "nsm-1", "10.7.0.1/24")
	pod.ping(t, "10.7.0.2")
	before := p.Links()[0].Endpoint.Counters
	const count, size = 200, 14 + 20 + 8 + 1000
	pod.run(t, "ping", "-n", "-q", "-c", "200", "-l", "100", "-i", "0.002", "-s", "1000", "10.7.0.2")
	after := p.Links()[0].Endpoint.Counters
	// Between the lines there may be neighbour discovery: a few packets, less than
	// an Ethernet header for each that was counted would make.
	const noise = 14 * count / 2
	require.InDelta(t, count*size+noise/2, after.TxBytes-before.TxBytes, noise/2)
	require.InDelta(t, count*size+noise/2, after.RxBytes-before.RxBytes, noise/2)
	require.InDelta(t, count, after.TxPackets-before.TxPackets, 20)
	require.InDelta(t, count, after.RxPackets-before.RxPackets, 20)
	require.Equal(t, after.TxBytes, p.Links()[0].Client.Counters.RxBytes)
}

// Linux has one interface for a VLAN: a second connection is refused and the first
// one not disturbed. When that is left, another pod gets it.
func TestSameVLAN(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	p.needVLAN(t)
	u.vlanHost(t, "10.7.0.2/24")
	pods := []*namespace{newNamespace(t), newNamespace(t)}
	join := func(i int) error {
		_, err := p.Join(t.Context(), &plane.Connection{
			ID: []string{"c0", "c1"}[i], Payload: plane.Ethernet, Client: pods[i].port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5},
		})
		return err
	}
	require.NoError(t, join(0))
	pods[0].addr(t, "nsm-1", "10.7.0.1/24")
	err := join(1)
	require.ErrorIs(t, err, plane.ErrUnsupported)
	require.ErrorContains(t, err, "one interface for each")
	require.Empty(t, pods[1].links(t))
	pods[0].ping(t, "10.7.0.2")
	require.NoError(t, p.Leave(t.Context(), "c0"))
	require.NoError(t, join(1))
	pods[1].addr(t, "nsm-1", "10.7.0.1/24")
	pods[1].ping(t, "10.7.0.2")
}
