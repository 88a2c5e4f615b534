// SPDX-License-Identifier: Apache-2.0

package listenonurl_test

import (
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/listenonurl"
)

func TestGetPublicURL(t *testing.T) {
	ip := func(s string) net.Addr { return &net.IPNet{IP: net.ParseIP(s), Mask: net.CIDRMask(32, 32)} }
	all := []net.Addr{ip("127.0.0.1"), ip("::1"), ip("fe80::1"), ip("fd00::1"), ip("10.0.0.1"), ip("10.0.0.2")}
	for _, c := range []struct {
		name  string
		addrs []net.Addr
		in    string
		want  string
	}{
		{"first IPv4 address wins", all, "tcp://:5001", "tcp://10.0.0.1:5001"},
		{"global IPv6 where there is no IPv4", all[:4], "tcp://:5001", "tcp://[fd00::1]:5001"},
		{"link-local and loopback are no public addresses", all[:3], "tcp://:5001", "tcp://:5001"},
		{"a named host stays", all, "tcp://192.168.0.1:5001", "tcp://192.168.0.1:5001"},
		{"a unix socket stays", all, "unix:///a.sock", "unix:///a.sock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.in)
			require.NoError(t, err)
			require.Equal(t, c.want, listenonurl.GetPublicURL(c.addrs, u).String())
		})
	}
}
