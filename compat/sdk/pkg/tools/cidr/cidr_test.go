// SPDX-License-Identifier: Apache-2.0

package cidr_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/cidr"
)

func TestGroupsDecode(t *testing.T) {
	for value, want := range map[string][][]string{
		"":                                   nil,
		"  ":                                 nil,
		"10.0.0.0/8":                         {{"10.0.0.0/8"}},
		"10.0.0.0/8,2001:db8::/64":           {{"10.0.0.0/8"}, {"2001:db8::/64"}},
		"172.16.1.100/31":                    {{"172.16.1.100/31"}},
		"[10.0.0.0/8, 11.0.0.0/8]":           {{"10.0.0.0/8", "11.0.0.0/8"}},
		"[10.0.0.0/8] , 1.0.0.0/8,[2::/16 ]": {{"10.0.0.0/8"}, {"1.0.0.0/8"}, {"2::/16"}},
	} {
		var groups cidr.Groups
		require.NoError(t, groups.Decode(value), value)
		var got [][]string
		for _, group := range groups {
			var nets []string
			for _, n := range group {
				nets = append(nets, n.String())
			}
			got = append(got, nets)
		}
		require.Equal(t, want, got, value)
	}
}

func TestGroupsDecodeRefuses(t *testing.T) {
	for _, value := range []string{
		"[10.0.0.0/8", "10.0.0.0/8,", "[10.0.0.0/8][11.0.0.0/8]", "[]", "[10.0.0.0/8,,11.0.0.0/8]",
		"10.0./8", "[[10.0.0.0/8]]", ",10.0.0.0/8", "10.0.0.0/8]",
	} {
		var groups cidr.Groups
		require.Error(t, groups.Decode(value), value)
	}
}

func TestFirstAndLastAddress(t *testing.T) {
	for prefix, want := range map[string][2]string{
		"10.1.2.3/24":      {"10.1.2.0", "10.1.2.255"},
		"172.16.1.100/31":  {"172.16.1.100", "172.16.1.101"},
		"2001:db8::1/64":   {"2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"},
		"192.168.1.1/32":   {"192.168.1.1", "192.168.1.1"},
		"255.255.255.0/24": {"255.255.255.0", "255.255.255.255"},
		"fd00:1:2:3::/128": {"fd00:1:2:3::", "fd00:1:2:3::"},
		"128.0.0.0/1":      {"128.0.0.0", "255.255.255.255"},
	} {
		_, ipNet, err := net.ParseCIDR(prefix)
		require.NoError(t, err)
		require.Equal(t, want[0], cidr.NetworkAddress(ipNet).String(), prefix)
		require.Equal(t, want[1], cidr.BroadcastAddress(ipNet).String(), prefix)
	}
}
