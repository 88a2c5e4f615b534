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

func TestTunnelsLeaveWhatTheStockForwarderLeaves(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	require.Equal(t, 1446, mtu.Tunnel(1500, mtu.VXLAN, v4))
	require.Equal(t, 1440, mtu.Tunnel(1500, mtu.WireGuard, v4))
	require.Equal(t, 1426, mtu.Tunnel(1500, mtu.VXLAN, v6))
	require.Equal(t, 1420, mtu.Tunnel(1500, mtu.WireGuard, v6), "what wg(8) takes by default")
	require.Equal(t, 1446, mtu.Tunnel(1500, mtu.VXLAN, netip.AddrFrom16(v4.As16())), "IPv4 in sixteen bytes")
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
