// SPDX-License-Identifier: Apache-2.0

package usecase

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// The names, services, prefixes and requests of the stock examples, so that their
// manifests describe the same links.
func TestStockExamplesAreInTheTable(t *testing.T) {
	for _, want := range []struct{ name, payload, cidr, client, endpoint, request string }{
		{"Kernel2Ethernet2Kernel", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2ethernet2kernel/nsm-1"},
		{"Memif2Ethernet2Memif", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2ethernet2memif/nsm-1"},
		{"Kernel2Ethernet2Memif", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2ethernet2memif/nsm-1"},
		{"Memif2Ethernet2Kernel", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2ethernet2kernel/nsm-1"},
		{"Kernel2IP2Kernel", "IP", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2ip2kernel/nsm-1"},
		{"Memif2IP2Memif", "IP", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2ip2memif/nsm-1"},
		{"Kernel2IP2Memif", "IP", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2ip2memif/nsm-1"},
		{"Memif2IP2Kernel", "IP", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2ip2kernel/nsm-1"},
		{"Kernel2IP2Kernel_ipv6", "IP", "2001:db8::/116", "2001:db8::1", "2001:db8::", "kernel://kernel2ip2kernel-ipv6/nsm-1"},
		{"Memif2IP2Memif_ipv6", "IP", "2001:db8::/116", "2001:db8::1", "2001:db8::", "memif://memif2ip2memif-ipv6/nsm-1"},
		{"Kernel2IP2Memif_ipv6", "IP", "2001:db8::/116", "2001:db8::1", "2001:db8::", "kernel://kernel2ip2memif-ipv6/nsm-1"},
		{"Memif2IP2Kernel_ipv6", "IP", "2001:db8::/116", "2001:db8::1", "2001:db8::", "memif://memif2ip2kernel-ipv6/nsm-1"},
		{"Kernel2Kernel", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2kernel/nsm-1"},
		{"Kernel2Memif", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "kernel://kernel2memif/nsm-1"},
		{"Memif2Kernel", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2kernel/nsm-1"},
		{"Memif2Memif", "ETHERNET", "172.16.1.100/31", "172.16.1.101", "172.16.1.100", "memif://memif2memif/nsm-1"},
		{"Kernel2Kernel_ipv6", "ETHERNET", "2001:db8::/116", "2001:db8::1", "2001:db8::", "kernel://kernel2kernel-ipv6/nsm-1"},
		{"Memif2Memif_ipv6", "ETHERNET", "2001:db8::/116", "2001:db8::1", "2001:db8::", "memif://memif2memif-ipv6/nsm-1"},
		{"Kernel2RVlan", "ETHERNET", "172.10.0.0/24", "172.10.0.1", "172.10.0.254", "kernel://kernel2rvlan-breakout/nsm-1"},
	} {
		c, err := Find(strings.ToUpper(want.name))
		require.NoError(t, err)
		require.Equal(t, want.name, c.Name)
		require.Equal(t, want.payload, string(c.Payload), want.name)
		require.Equal(t, want.cidr, c.CIDR.String(), want.name)
		require.Equal(t, want.client, c.ClientAddr().String(), want.name)
		require.Equal(t, want.endpoint, c.EndpointAddr().String(), want.name)
		require.Equal(t, want.request, c.Request())
	}
	_, err := Find("Kernel2Nothing")
	require.ErrorContains(t, err, "--list")
}

func TestTableIsComplete(t *testing.T) {
	names, services := map[string]bool{}, map[string]bool{}
	count := map[string]int{}
	for _, c := range Table {
		require.False(t, names[c.Name], "%s is there twice", c.Name)
		require.False(t, services[c.Service], "service %s is there twice", c.Service)
		names[c.Name], services[c.Service] = true, true
		require.Equal(t, c.IPv6(), strings.HasSuffix(c.Name, "_ipv6"), c.Name)
		require.Equal(t, c.Memif(), strings.Contains(c.Name, "emif"), c.Name)
		switch {
		case c.Endpoint == plane.KindVLAN:
			count["VLAN"]++
			require.NotZero(t, c.VLAN)
		case c.Local():
			count["local"]++
		default:
			count["remote "+string(c.Payload)]++
			want := map[plane.Payload]plane.Kind{plane.Ethernet: plane.KindVXLAN, plane.IP: plane.KindWireGuard}[c.Payload]
			require.Equal(t, want, c.Tunnel, c.Name)
		}
	}
	require.Equal(t, map[string]int{"remote ETHERNET": 4, "remote IP": 8, "local": 16, "VLAN": 2}, count)
}

func TestListShowsEveryCase(t *testing.T) {
	var out strings.Builder
	require.NoError(t, List(&out, Table))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, len(Table)+1)
	for i, c := range Table {
		require.Contains(t, lines[i+1], c.Name)
		require.Contains(t, lines[i+1], c.Request())
	}
}
