// SPDX-License-Identifier: Apache-2.0

package point2pointipam_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/groupipam"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/strictipam"
)

func nets(t *testing.T, prefixes ...string) []*net.IPNet {
	var list []*net.IPNet
	for _, prefix := range prefixes {
		_, ipNet, err := net.ParseCIDR(prefix)
		require.NoError(t, err)
		list = append(list, ipNet)
	}
	return list
}

// refuse is the rest of a chain.
type refuse struct{ on bool }

func (r *refuse) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if r.on {
		return nil, errors.New("refused")
	}
	return next.Server(ctx).Request(ctx, request)
}

func (r *refuse) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

func fresh(id string, excluded ...string) *networkservice.Connection {
	return &networkservice.Connection{Id: id, Context: &networkservice.ConnectionContext{
		IpContext: &networkservice.IPContext{ExcludedPrefixes: excluded},
	}}
}

func request(t *testing.T, server networkservice.NetworkServiceServer, conn *networkservice.Connection) *networkservice.Connection {
	t.Helper()
	conn, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	return conn
}

func requireIPs(t *testing.T, conn *networkservice.Connection, src, dst []string) {
	t.Helper()
	ipContext := conn.GetContext().GetIpContext()
	routes := func(list []*networkservice.Route) (prefixes []string) {
		for _, r := range list {
			prefixes = append(prefixes, r.GetPrefix())
			require.Empty(t, r.GetNextHop())
		}
		return prefixes
	}
	require.Equal(t, src, ipContext.GetSrcIpAddrs())
	require.Equal(t, dst, ipContext.GetDstIpAddrs())
	require.Equal(t, dst, routes(ipContext.GetSrcRoutes()))
	require.Equal(t, src, routes(ipContext.GetDstRoutes()))
}

func one(s string) []string { return []string{s} }

func TestAddresses(t *testing.T) {
	server := point2pointipam.NewServer(nets(t, "172.16.1.100/31", "10.0.0.0/29")...)
	a := request(t, server, &networkservice.Connection{Id: "a"})
	requireIPs(t, a, one("172.16.1.101/32"), one("172.16.1.100/32"))
	requireIPs(t, request(t, server, a), one("172.16.1.101/32"), one("172.16.1.100/32"))
	requireIPs(t, request(t, server, fresh("a")), one("172.16.1.101/32"), one("172.16.1.100/32"))

	b := request(t, server, fresh("b"))
	requireIPs(t, b, one("10.0.0.1/32"), one("10.0.0.0/32"))
	requireIPs(t, request(t, server, fresh("c", "10.0.0.0/30")), one("10.0.0.5/32"), one("10.0.0.4/32"))

	_, err := server.Close(context.Background(), a)
	require.NoError(t, err)
	requireIPs(t, request(t, server, fresh("d")), one("172.16.1.101/32"), one("172.16.1.100/32"))
}

func TestIPv6(t *testing.T) {
	server := point2pointipam.NewServer(nets(t, "2001:db8::/116")...)
	requireIPs(t, request(t, server, fresh("a", "10.0.0.0/8")), one("2001:db8::1/128"), one("2001:db8::/128"))
	requireIPs(t, request(t, server, fresh("b", "2001:db8::/126")), one("2001:db8::5/128"), one("2001:db8::4/128"))
}

func TestExhausted(t *testing.T) {
	r := new(refuse)
	server := next.NewNetworkServiceServer(point2pointipam.NewServer(nets(t, "10.0.0.0/30")...), r)
	for i := range 10 { // failures give back what they took
		r.on = true
		_, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: fresh(fmt.Sprint(i))})
		require.EqualError(t, err, "refused")
	}
	r.on = false
	a := request(t, server, fresh("a"))
	request(t, server, fresh("b"))
	_, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: fresh("c")})
	require.ErrorContains(t, err, "assign addresses")

	r.on = true
	_, err = server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: a.Clone()})
	require.Error(t, err)
	r.on = false
	_, err = server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: fresh("c")})
	require.Error(t, err, "a failed refresh frees nothing")

	_, err = point2pointipam.NewServer().Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: fresh("a")})
	require.ErrorContains(t, err, "no prefix")
}

func TestExclusionAfterwards(t *testing.T) {
	r := new(refuse)
	server := next.NewNetworkServiceServer(point2pointipam.NewServer(nets(t, "10.0.0.0/29")...), r)
	a := request(t, server, fresh("a"))
	requireIPs(t, a, one("10.0.0.1/32"), one("10.0.0.0/32"))
	a.Context.IpContext.ExcludedPrefixes = []string{"10.0.0.1/32"}

	r.on = true
	_, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: a.Clone()})
	require.Error(t, err)
	r.on = false
	moved := request(t, server, a)
	requireIPs(t, moved, one("10.0.0.3/32"), one("10.0.0.2/32"))
	requireIPs(t, request(t, server, fresh("b")), one("10.0.0.1/32"), one("10.0.0.0/32"))
}

func TestRecoveryAfterARestart(t *testing.T) {
	before := point2pointipam.NewServer(nets(t, "10.0.0.0/29")...)
	request(t, before, fresh("a"))
	b := request(t, before, fresh("b"))
	requireIPs(t, b, one("10.0.0.3/32"), one("10.0.0.2/32"))

	after := point2pointipam.NewServer(nets(t, "10.0.0.0/29")...)
	requireIPs(t, request(t, after, b), one("10.0.0.3/32"), one("10.0.0.2/32"))
	requireIPs(t, request(t, after, fresh("c")), one("10.0.0.1/32"), one("10.0.0.0/32"))
	requireIPs(t, request(t, after, fresh("d")), one("10.0.0.5/32"), one("10.0.0.4/32"))

	// Half of the pair is taken: nothing is lost from the pool.
	half := fresh("e")
	half.Context.IpContext.SrcIpAddrs = one("10.0.0.7/32")
	half.Context.IpContext.DstIpAddrs = one("10.0.0.0/32")
	conn := request(t, after, half)
	require.Contains(t, conn.GetContext().GetIpContext().GetSrcIpAddrs(), "10.0.0.7/32")
	require.Contains(t, conn.GetContext().GetIpContext().GetDstIpAddrs(), "10.0.0.6/32")
}

func TestGroups(t *testing.T) {
	server := groupipam.NewServer([][]*net.IPNet{nets(t, "10.0.0.0/24", "10.0.1.0/24"), nets(t, "2001:db8::/116")})
	conn := request(t, server, fresh("a"))
	requireIPs(t, conn, []string{"10.0.0.1/32", "2001:db8::1/128"}, []string{"10.0.0.0/32", "2001:db8::/128"})
	requireIPs(t, request(t, server, conn), []string{"10.0.0.1/32", "2001:db8::1/128"}, []string{"10.0.0.0/32", "2001:db8::/128"})
}

func TestStrict(t *testing.T) {
	strict := func(prefixes ...*net.IPNet) networkservice.NetworkServiceServer {
		return strictipam.NewServer(point2pointipam.NewServer, prefixes...)
	}
	foreign := fresh("a")
	ipContext := foreign.Context.IpContext
	ipContext.SrcIpAddrs, ipContext.DstIpAddrs = one("192.168.0.1/32"), one("192.168.0.0/32")
	ipContext.SrcRoutes = []*networkservice.Route{{Prefix: "192.168.0.0/32"}}
	ipContext.DstRoutes = []*networkservice.Route{{Prefix: "192.168.0.1/32"}}

	polite := request(t, point2pointipam.NewServer(nets(t, "10.0.0.0/24")...), foreign)
	require.Contains(t, polite.GetContext().GetIpContext().GetSrcIpAddrs(), "192.168.0.1/32", "the polite one adds to what is there")

	server := strict(nets(t, "10.0.0.0/24")...)
	a := request(t, server, foreign)
	requireIPs(t, a, one("10.0.0.1/32"), one("10.0.0.0/32"))
	requireIPs(t, request(t, server, a), one("10.0.0.1/32"), one("10.0.0.0/32"))

	thief := fresh("b")
	thief.Context.IpContext.SrcIpAddrs, thief.Context.IpContext.DstIpAddrs = one("10.0.0.1/32"), one("10.0.0.0/32")
	requireIPs(t, request(t, server, thief), one("10.0.0.3/32"), one("10.0.0.2/32"))

	_, err := server.Close(context.Background(), a)
	require.NoError(t, err)
	requireIPs(t, request(t, server, func() *networkservice.Connection { c := a.Clone(); c.Id = "c"; return c }()),
		one("10.0.0.1/32"), one("10.0.0.0/32"))

	both := groupipam.NewServer([][]*net.IPNet{nets(t, "10.0.0.0/24"), nets(t, "2001:db8::/116")}, groupipam.WithCustomIPAMServer(strict))
	conn := request(t, both, foreign)
	requireIPs(t, conn, []string{"10.0.0.1/32", "2001:db8::1/128"}, []string{"10.0.0.0/32", "2001:db8::/128"})
	requireIPs(t, request(t, both, conn), []string{"10.0.0.1/32", "2001:db8::1/128"}, []string{"10.0.0.0/32", "2001:db8::/128"})
}
