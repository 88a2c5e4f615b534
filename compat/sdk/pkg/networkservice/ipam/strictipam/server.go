// SPDX-License-Identifier: Apache-2.0

// Package strictipam lets a connection keep only addresses that this endpoint
// may give it. A client that heals comes with those of the endpoint before.
package strictipam

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type server struct {
	prefixes []netip.Prefix

	mu    sync.Mutex
	owner map[netip.Addr]string // connection id
}

// NewServer returns the IPAM that newIPAMServer makes of prefixes, behind an
// element that takes away from a request the addresses that are not in
// prefixes or belong to another connection, and the routes to them. Addresses
// of a family that prefixes have none of are left to others. It panics if
// newIPAMServer is nil.
func NewServer(newIPAMServer func(...*net.IPNet) networkservice.NetworkServiceServer, prefixes ...*net.IPNet) networkservice.NetworkServiceServer {
	if newIPAMServer == nil {
		panic("strict IPAM: there is no IPAM server to make")
	}
	s := &server{owner: make(map[netip.Addr]string)}
	for _, prefix := range prefixes {
		if prefix == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(prefix.IP); ok {
			ones, _ := prefix.Mask.Size()
			s.prefixes = append(s.prefixes, netip.PrefixFrom(addr.Unmap(), ones).Masked())
		}
	}
	return next.NewNetworkServiceServer(s, newIPAMServer(prefixes...))
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	if ipContext := request.GetConnection().GetContext().GetIpContext(); ipContext != nil {
		s.restrict(&ipContext.SrcIpAddrs, &ipContext.DstRoutes, id)
		s.restrict(&ipContext.DstIpAddrs, &ipContext.SrcRoutes, id)
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	ipContext := conn.GetContext().GetIpContext()
	s.take(id, ipContext.GetSrcIpAddrs(), ipContext.GetDstIpAddrs())
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.take(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}

// restrict takes away from addrs, and from the routes to them.
func (s *server) restrict(addrs *[]string, routes *[]*networkservice.Route, id string) {
	*addrs = slices.DeleteFunc(*addrs, func(addr string) bool {
		if s.allows(addr, id) {
			return false
		}
		*routes = slices.DeleteFunc(*routes, func(r *networkservice.Route) bool { return r.GetPrefix() == addr })
		return true
	})
}

func (s *server) allows(text, id string) bool {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return false
	}
	addr := prefix.Addr().Unmap()
	concerned := false
	for _, p := range s.prefixes {
		if p.Contains(addr) {
			s.mu.Lock()
			defer s.mu.Unlock()
			owner, taken := s.owner[addr]
			return !taken || owner == id
		}
		concerned = concerned || p.Addr().BitLen() == addr.BitLen()
	}
	return !concerned
}

// take makes these the addresses of a connection, instead of those before.
func (s *server) take(id string, lists ...[]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, owner := range s.owner {
		if owner == id {
			delete(s.owner, addr)
		}
	}
	for _, addrs := range lists {
		for _, text := range addrs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				s.owner[prefix.Addr().Unmap()] = id
			}
		}
	}
}
