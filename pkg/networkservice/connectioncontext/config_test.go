// SPDX-License-Identifier: Apache-2.0

package connectioncontext

import (
	"net"
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
)

func contextWith(change func(*networkservice.IPContext)) *networkservice.ConnectionContext {
	ip := &networkservice.IPContext{
		SrcIpAddrs: []string{"172.16.1.101/32"},
		DstIpAddrs: []string{"172.16.1.100/32"},
		SrcRoutes:  []*networkservice.Route{{Prefix: "172.16.1.100/32"}},
		DstRoutes:  []*networkservice.Route{{Prefix: "172.16.1.101/32"}},
	}
	change(ip)
	return &networkservice.ConnectionContext{IpContext: ip, MTU: 1446}
}

func TestEachSideGetsItsOwnAddressesAndTheOthersAsPeers(t *testing.T) {
	c := contextWith(func(ip *networkservice.IPContext) {
		ip.SrcRoutes = append(ip.SrcRoutes, &networkservice.Route{Prefix: "10.5.6.7/8", NextHop: "172.16.1.100"})
		ip.IpNeighbors = []*networkservice.IpNeighbor{{Ip: "172.16.1.100", HardwareAddress: "02:00:00:00:00:01"}}
		ip.Policies = []*networkservice.PolicyRoute{{
			From: "172.16.3.1", Proto: "tcp", DstPort: "80-81", Routes: []*networkservice.Route{{Prefix: "0.0.0.0/0"}},
		}}
	})
	neighbours := []podnet.Neighbour{{
		Addr: netip.MustParseAddr("172.16.1.100"), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}}
	client, err := ClientConfig(c)
	require.NoError(t, err)
	require.Equal(t, podnet.Config{
		MTU:       1446,
		Addresses: []netip.Prefix{netip.MustParsePrefix("172.16.1.101/32")},
		Peers:     []netip.Prefix{netip.MustParsePrefix("172.16.1.100/32")},
		Routes: []podnet.Route{
			{Prefix: netip.MustParsePrefix("172.16.1.100/32")},
			{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("172.16.1.100")},
		},
		Policies: []podnet.Policy{{
			From: netip.MustParsePrefix("172.16.3.1/32"), Protocol: 6, DstPort: podnet.PortRange{First: 80, Last: 81},
			Routes: []podnet.Route{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
		}},
		Neighbours: neighbours,
		Ping:       true,
	}, client)

	endpoint, err := EndpointConfig(c)
	require.NoError(t, err)
	require.Equal(t, podnet.Config{
		MTU:        1446,
		Addresses:  []netip.Prefix{netip.MustParsePrefix("172.16.1.100/32")},
		Peers:      []netip.Prefix{netip.MustParsePrefix("172.16.1.101/32")},
		Routes:     []podnet.Route{{Prefix: netip.MustParsePrefix("172.16.1.101/32")}},
		Neighbours: neighbours,
		Ping:       true,
	}, endpoint)
}

func TestWhatDoesNotParseIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*networkservice.IPContext)
		want   string
	}{
		"address": {func(ip *networkservice.IPContext) { ip.SrcIpAddrs = []string{"172.16.1.300/32"} }, `address "172.16.1.300/32"`},
		"address of nothing": {
			func(ip *networkservice.IPContext) { ip.SrcIpAddrs = []string{""} }, `address ""`,
		},
		"prefix length": {func(ip *networkservice.IPContext) { ip.DstIpAddrs = []string{"172.16.1.1/33"} }, `peer address "172.16.1.1/33"`},
		"route":         {func(ip *networkservice.IPContext) { ip.SrcRoutes[0].Prefix = "default" }, `route "default"`},
		"next hop":      {func(ip *networkservice.IPContext) { ip.SrcRoutes[0].NextHop = "gateway" }, `next hop "gateway"`},
		"neighbour":     {func(ip *networkservice.IPContext) { ip.IpNeighbors = []*networkservice.IpNeighbor{{Ip: "x"}} }, `neighbour "x"`},
		"neighbour's MAC": {func(ip *networkservice.IPContext) {
			ip.IpNeighbors = []*networkservice.IpNeighbor{{Ip: "::1", HardwareAddress: "zz"}}
		}, "neighbour ::1"},
		"policy source":   {func(ip *networkservice.IPContext) { ip.Policies = []*networkservice.PolicyRoute{{From: "all"}} }, `source "all"`},
		"policy protocol": {func(ip *networkservice.IPContext) { ip.Policies = []*networkservice.PolicyRoute{{Proto: "256"}} }, `protocol "256"`},
		"policy port":     {func(ip *networkservice.IPContext) { ip.Policies = []*networkservice.PolicyRoute{{DstPort: "http"}} }, `destination port "http"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ClientConfig(contextWith(tc.change))
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("172.16.1.101/32", "10.0.0.0/8", "172.16.1.100", "6", "80-81")
	f.Add("2001:db8::1/128", "::/0", "fe80::1%eth0", "icmpv6", "")
	f.Fuzz(func(t *testing.T, addr, prefix, hop, proto, ports string) {
		c, err := ClientConfig(contextWith(func(ip *networkservice.IPContext) {
			ip.SrcIpAddrs = []string{addr}
			ip.SrcRoutes = []*networkservice.Route{{Prefix: prefix, NextHop: hop}}
			ip.Policies = []*networkservice.PolicyRoute{{From: prefix, Proto: proto, DstPort: ports, SrcPort: ports}}
		}))
		if err != nil {
			return
		}
		for _, a := range c.Addresses {
			if !a.IsValid() {
				t.Fatalf("%q was taken for an address", addr)
			}
		}
	})
}
