// SPDX-License-Identifier: Apache-2.0

package dnscontext_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edwarnicke/genericsync"
	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/connectioncontext/dnscontext"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

const original = "# by DHCP\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:5\n"

func read(t *testing.T, path string) string {
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func newClient(ctx context.Context, path string, configs *genericsync.Map[string, []*networkservice.DNSConfig]) networkservice.NetworkServiceClient {
	return next.NewNetworkServiceClient(
		dnscontext.NewClient(dnscontext.WithChainContext(ctx), dnscontext.WithResolveConfigPath(path),
			dnscontext.WithDefaultNameServerIP("127.0.0.53"), dnscontext.WithDNSConfigsMap(configs)),
		adapters.NewServerToClient(dnscontext.NewServer(&networkservice.DNSConfig{DnsServerIps: []string{"172.16.1.1"}})))
}

func request(id string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}}
}

func TestTheResolverAsksUsAndIsRestored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(path, []byte(original), 0o600))
	var configs genericsync.Map[string, []*networkservice.DNSConfig]
	ctx, cancel := context.WithCancel(context.Background())
	client := newClient(ctx, path, &configs)
	require.Equal(t, original, read(t, path), "touched before it was needed")

	conn, err := client.Request(t.Context(), request("a"))
	require.NoError(t, err)
	conn, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
	require.NoError(t, err)
	require.Len(t, conn.GetContext().GetDnsContext().GetConfigs(), 1, "a refresh must not repeat the configuration")
	require.Regexp(t, "^nameserver 127.0.0.53\nsearch a.example b.example\noptions ndots:5\n#", read(t, path))
	require.NotRegexp(t, "(?m)^nameserver 10", read(t, path))
	stored, ok := configs.Load("a")
	require.True(t, ok)
	require.Len(t, stored, 2)
	require.Equal(t, []string{"10.0.0.1", "10.0.0.2"}, stored[0].GetDnsServerIps())
	require.Equal(t, []string{"a.example", "b.example"}, stored[0].GetSearchDomains())
	require.Equal(t, []string{"172.16.1.1"}, stored[1].GetDnsServerIps())

	_, err = client.Close(t.Context(), conn)
	require.NoError(t, err)
	_, ok = configs.Load("a")
	require.False(t, ok)
	cancel()
	require.Eventually(t, func() bool { return read(t, path) == original }, 10*time.Second, time.Millisecond)
}

func TestWhatADeadProcessLeftIsRestoredToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(path, []byte(original), 0o600))
	var configs genericsync.Map[string, []*networkservice.DNSConfig]
	_, err := newClient(context.Background(), path, &configs).Request(t.Context(), request("a"))
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	_, err = newClient(ctx, path, &configs).Request(t.Context(), request("b"))
	require.NoError(t, err)
	stored, _ := configs.Load("b")
	require.Equal(t, []string{"10.0.0.1", "10.0.0.2"}, stored[0].GetDnsServerIps(), "our own name server is not upstream of itself")
	cancel()
	require.Eventually(t, func() bool { return read(t, path) == original }, 10*time.Second, time.Millisecond)
}
