// SPDX-License-Identifier: Apache-2.0

package mtu_test

import (
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// underlay is an uplink, of a plane that fragments if need be or of one that does not.
type underlay struct {
	addr  netip.Addr
	mtu   int
	whole bool
}

func (u underlay) Addr() netip.Addr          { return u.addr }
func (u underlay) MTU() int                  { return u.mtu }
func (u underlay) Fragments(plane.Kind) bool { return !u.whole }

var (
	v4 = netip.MustParseAddr("192.0.2.1")
	v6 = netip.MustParseAddr("2001:db8::1")
)

func TestTunnelsLeaveWhatTheStockForwarderLeaves(t *testing.T) {
	require.EqualValues(t, 1446, mtu.Ours(underlay{addr: v4, mtu: 1500}, plane.KindVXLAN))
	require.EqualValues(t, 1440, mtu.Ours(underlay{addr: v4, mtu: 1500}, plane.KindWireGuard))
	require.EqualValues(t, 1426, mtu.Ours(underlay{addr: v6, mtu: 1500}, plane.KindVXLAN))
	require.EqualValues(t, 1420, mtu.Ours(underlay{addr: v6, mtu: 1500}, plane.KindWireGuard), "what wg(8) takes by default")
	require.EqualValues(t, 1446, mtu.Ours(underlay{addr: netip.AddrFrom16(v4.As16()), mtu: 1500}, plane.KindVXLAN), "IPv4 in sixteen bytes")
}

// IPv6 inside needs 1280 bytes (RFC 8200, section 5), and gets them over each
// underlay that IPv6 itself can use, unless an end does not fragment.
func TestTunnelsLeaveEnoughForIPv6(t *testing.T) {
	for _, tc := range []struct {
		underlay         underlay
		vxlan, wireguard uint32
	}{
		{underlay{addr: v4, mtu: 1341}, 1287, 1281},
		{underlay{addr: v4, mtu: 1340}, 1286, 1280},
		{underlay{addr: v4, mtu: 1339}, 1285, 1280},
		{underlay{addr: v4, mtu: 1333}, 1280, 1280},
		{underlay{addr: v4, mtu: 1280}, 1280, 1280},
		{underlay{addr: v6, mtu: 1280}, 1280, 1280},
		{underlay{addr: v4, mtu: 1279}, 1225, 1219},
		{underlay{addr: v6, mtu: 1279}, 1205, 1199},
		{underlay{addr: v4, mtu: 30}, 0, 0},
		{underlay{addr: v4, mtu: 1280, whole: true}, 1226, 1220},
		{underlay{addr: v6, mtu: 1280, whole: true}, 1206, 1200},
		{underlay{addr: v6, mtu: 1500, whole: true}, 1426, 1420},
	} {
		require.Equal(t, tc.vxlan, mtu.Ours(tc.underlay, plane.KindVXLAN), tc)
		require.Equal(t, tc.wireguard, mtu.Ours(tc.underlay, plane.KindWireGuard), tc)
	}
	for peers, want := range map[uint32]uint32{0: 1280, 1226: 1226, 1446: 1280} {
		conn := new(networkservice.Connection)
		require.EqualValues(t, 1280, mtu.LimitToTunnel(conn, underlay{addr: v4, mtu: 1280}, plane.KindVXLAN, peers))
		require.Equal(t, want, conn.GetContext().GetMTU(), "the peer says %d", peers)
	}
}

func TestLimitOnlyLowers(t *testing.T) {
	for name, tc := range map[string]struct {
		has   *networkservice.ConnectionContext
		limit int
		want  uint32
	}{
		"none yet":           {nil, 1446, 1446},
		"none, wide tunnel":  {nil, 20000, plane.DefaultMTU},
		"larger":             {&networkservice.ConnectionContext{MTU: 1500}, 1446, 1446},
		"smaller":            {&networkservice.ConnectionContext{MTU: 1280}, 1446, 1280},
		"uplink too small":   {nil, -12, 0},
		"the same once more": {&networkservice.ConnectionContext{MTU: 1446}, 1446, 1446},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &networkservice.Connection{Context: tc.has}
			mtu.Limit(conn, tc.limit)
			require.Equal(t, tc.want, conn.GetContext().GetMTU())
		})
	}
}
