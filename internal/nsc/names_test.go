// SPDX-License-Identifier: Apache-2.0

package nsc

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

const pods = "search cluster.local\nnameserver 192.0.2.53\n"

// endpoint answers with name servers for the service of the request.
type endpoint struct{ err error }

func (e endpoint) Request(_ context.Context, r *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	conn := r.GetConnection().Clone()
	if domain := conn.GetNetworkService(); domain != "" {
		conn.Context = &networkservice.ConnectionContext{DnsContext: &networkservice.DNSContext{Configs: []*networkservice.DNSConfig{
			{DnsServerIps: []string{"192.0.2.1"}, SearchDomains: []string{domain}},
		}}}
	}
	return conn, e.err
}

func (e endpoint) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return new(emptypb.Empty), e.err
}

type pod struct {
	t     *testing.T
	names *names
	path  string
}

func newPod(t *testing.T, address string) *pod {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(path, []byte(pods), 0o644))
	return &pod{t: t, path: path, names: newNames(netip.MustParseAddrPort(address), path)}
}

func (p *pod) resolvConf() string {
	text, err := os.ReadFile(p.path)
	require.NoError(p.t, err)
	return string(text)
}

func (p *pod) request(id, domain string, result error) error {
	_, err := next.NewNetworkServiceClient(p.names, endpoint{result}).Request(p.t.Context(),
		&networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id, NetworkService: domain}})
	return err
}

func (p *pod) close(id string, result error) error {
	_, err := next.NewNetworkServiceClient(p.names, endpoint{result}).Close(p.t.Context(), &networkservice.Connection{Id: id})
	return err
}

func TestResolvConfIsOursOnlyWhileAConnectionHasNameServers(t *testing.T) {
	p := newPod(t, "127.0.0.1:0")
	require.NoError(t, p.request("plain", "", nil))
	require.Equal(t, pods, p.resolvConf(), "a connection without name servers changed it")
	require.Error(t, p.request("a", "a.service", errors.New("no")))
	require.Equal(t, pods, p.resolvConf(), "a failed request changed it")

	require.NoError(t, p.request("a", "a.service", nil))
	require.Contains(t, p.resolvConf(), "\nnameserver 127.0.0.1\nsearch a.service cluster.local\n")
	require.NoError(t, p.request("b", "b.service", nil))
	require.NoError(t, p.request("b", "b.service", nil)) // a refresh
	require.Contains(t, p.resolvConf(), "\nsearch a.service b.service cluster.local\n")

	require.NoError(t, p.close("a", nil))
	require.Contains(t, p.resolvConf(), "\nsearch b.service cluster.local\n")
	require.Error(t, p.close("b", errors.New("unreachable")))
	require.Equal(t, pods, p.resolvConf(), "the last connection is gone, whatever Close says")

	require.NoError(t, p.request("a", "a.service", nil))
	require.NoError(t, p.names.restore())
	require.NoError(t, p.names.restore())
	require.Equal(t, pods, p.resolvConf())
}

func TestAConnectionComesUpWhereNamesCannotBeServed(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	p := newPod(t, taken.LocalAddr().String())
	require.NoError(t, p.request("a", "a.service", nil))
	require.Equal(t, pods, p.resolvConf(), "it names a server that does not run")
	require.NoError(t, p.close("a", nil))

	p = newPod(t, "127.0.0.1:0")
	require.NoError(t, os.Remove(p.path))
	require.NoError(t, p.request("a", "a.service", nil))
	require.NoError(t, p.names.restore())
}
