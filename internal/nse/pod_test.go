// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
)

// tail answers with whatever context it has been given.
type tail struct{ ip *networkservice.IPContext }

func (t *tail) Request(_ context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := r.GetConnection().Clone()
	conn.Context = &networkservice.ConnectionContext{IpContext: t.ip}
	return conn, nil
}

func (t *tail) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

func TestServicesAreWhereConnectionsAre(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for ports below 1024")
	}
	p := newPod(t.Context(), new(Config))
	defer p.close()
	end := new(tail)
	server := chain.NewNetworkServiceServer(p.newServicesServer(), end)
	request := func(id string, addrs ...string) {
		t.Helper()
		end.ip = &networkservice.IPContext{DstIpAddrs: addrs}
		_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}})
		require.NoError(t, err)
	}
	closeOf := func(id string) {
		t.Helper()
		_, err := server.Close(t.Context(), &networkservice.Connection{Id: id})
		require.NoError(t, err)
	}
	served := func(addr string) bool {
		conn, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), inetd.EchoPort).String())
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		_, err = conn.Write([]byte("x"))
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		return err == nil
	}
	// Addresses of the loopback, of which every host has more than enough, and one that
	// is not there yet.
	const a, b, none = "127.78.0.1/32", "127.78.0.2/32", "2001:db8::77/128"
	request("first", a, none)
	request("second", a)
	require.True(t, served("127.78.0.1"))
	require.False(t, served("127.78.0.2"))
	closeOf("first")
	require.True(t, served("127.78.0.1"), "the second connection has it, too")
	request("second", b)
	require.False(t, served("127.78.0.1"))
	require.True(t, served("127.78.0.2"))
	request("second", b)
	closeOf("second")
	closeOf("second")
	require.False(t, served("127.78.0.2"))
	require.Empty(t, p.served)
	require.Empty(t, p.of)
}

func TestMechanismsAreThoseOfTheConfiguration(t *testing.T) {
	for _, test := range []struct{ mechanisms, want []string }{
		{[]string{"kernel"}, []string{"KERNEL", "NOOP"}},
		{[]string{"Memif"}, []string{"MEMIF", "NOOP"}},
		{[]string{"memif", "kernel"}, []string{"KERNEL", "MEMIF", "NOOP"}},
	} {
		c := &Config{Mechanism: test.mechanisms, INETServices: true}
		p := newPod(t.Context(), c)
		defer p.close()
		require.Equal(t, test.want, slices.Sorted(maps.Keys(c.mechanisms(p))))
	}
}
