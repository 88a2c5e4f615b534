// SPDX-License-Identifier: Apache-2.0

package excludedprefixes_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/excludedprefixes"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

func request(id, service string, excluded ...string) *networkservice.NetworkServiceRequest {
	r := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id, NetworkService: service}}
	if len(excluded) > 0 {
		r.Connection.Context = &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{ExcludedPrefixes: excluded}}
	}
	return r
}

func excluded(conn *networkservice.Connection) []string {
	return conn.GetContext().GetIpContext().GetExcludedPrefixes()
}

func TestTheServerExcludesWhatTheFileSays(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	file := filepath.Join(t.TempDir(), "excluded.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("prefixes:\n- 10.0.0.0/8\n- 172.16.0.0/12\n")
	server := excludedprefixes.NewServer(ctx, excludedprefixes.WithConfigPath(file))
	ask := func() []string {
		conn, err := server.Request(t.Context(), request("a", "ns", "192.168.0.0/16", "10.0.0.0/8"))
		require.NoError(t, err)
		return excluded(conn)
	}
	require.Equal(t, []string{"192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"}, ask())
	write("prefixes: [ fd00::/8 ]\n")
	require.Eventually(t, func() bool {
		got := ask()
		return len(got) == 3 && got[2] == "fd00::/8"
	}, 10*time.Second, 5*time.Millisecond)
}

func TestTheServerWithoutAFileExcludesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := excludedprefixes.NewServer(ctx, excludedprefixes.WithConfigPath(filepath.Join(t.TempDir(), "none.yaml")))
	conn, err := server.Request(t.Context(), request("a", "ns"))
	require.NoError(t, err)
	require.Empty(t, excluded(conn))
}

// newClient returns a chain that gives each connection the addresses of its id.
func newClient(opts ...excludedprefixes.ClientOption) (networkservice.NetworkServiceClient, *recorder.Client) {
	last := &recorder.Client{}
	last.OnReply = func(_ context.Context, conn *networkservice.Connection) error {
		ip := conn.GetContext().GetIpContext()
		net := map[string]string{"a": "172.16.1.", "b": "172.16.2.", "c": "172.16.3."}[conn.GetId()]
		ip.SrcIpAddrs, ip.DstIpAddrs = []string{net + "1/32"}, []string{net + "0/32"}
		ip.SrcRoutes = []*networkservice.Route{{Prefix: net + "7/24"}}
		return nil
	}
	return next.NewNetworkServiceClient(excludedprefixes.NewClient(opts...), last), last
}

func TestTheClientKeepsItsConnectionsApart(t *testing.T) {
	client, last := newClient()
	ask := func(r *networkservice.NetworkServiceRequest) *networkservice.Connection {
		conn, err := client.Request(t.Context(), r)
		require.NoError(t, err)
		return conn
	}
	a := ask(request("a", "ns", "10.0.0.0/8"))
	require.Equal(t, []string{"10.0.0.0/8"}, excluded(last.Requests()[0].GetConnection()))
	ask(request("b", "ns", "10.0.0.0/8"))
	require.Equal(t, []string{"10.0.0.0/8", "172.16.1.0/24", "172.16.1.0/32", "172.16.1.1/32"},
		excluded(last.Requests()[1].GetConnection()))
	ask(&networkservice.NetworkServiceRequest{Connection: a.Clone()})
	require.Equal(t, []string{"10.0.0.0/8", "172.16.2.0/24", "172.16.2.0/32", "172.16.2.1/32"},
		excluded(last.Requests()[2].GetConnection()), "a connection must not exclude itself")
	_, err := client.Close(t.Context(), a)
	require.NoError(t, err)
	ask(request("c", "ns"))
	require.NotContains(t, excluded(last.Requests()[3].GetConnection()), "172.16.1.0/24")
}

func TestAwareConnectionsShareAddresses(t *testing.T) {
	parse := func(text string) *url.URL {
		u, err := url.Parse(text)
		require.NoError(t, err)
		return u
	}
	client, last := newClient(excludedprefixes.WithAwarenessGroups([][]*url.URL{
		{parse("kernel://one/if-1"), parse("kernel://two/if-2?color=red")},
	}))
	_, err := client.Request(t.Context(), request("a", "one"))
	require.NoError(t, err)
	red := request("b", "two")
	red.Connection.Labels = map[string]string{"color": "red"}
	_, err = client.Request(t.Context(), red)
	require.NoError(t, err)
	require.Empty(t, excluded(last.Requests()[1].GetConnection()))
	_, err = client.Request(t.Context(), request("c", "two"))
	require.NoError(t, err)
	require.Len(t, excluded(last.Requests()[2].GetConnection()), 6, "without the label it is not of the group")
}
