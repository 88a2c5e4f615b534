// SPDX-License-Identifier: Apache-2.0

package point2pointipam

import (
	"net"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/ippool"
)

// pair is the addresses of a connection, as prefixes of one address.
type pair struct {
	pool     *ippool.IPPool
	src, dst string
}

// recovered takes out of pool the addresses that the connection has, or returns
// nil if one of them is not there to be had.
func recovered(pool *ippool.IPPool, ipContext *networkservice.IPContext, excluded []*ippool.IPPool) *pair {
	src := pullAny(pool, ipContext.GetSrcIpAddrs(), excluded)
	dst := pullAny(pool, ipContext.GetDstIpAddrs(), excluded)
	if src != nil && dst != nil {
		return &pair{pool: pool, src: src.String(), dst: dst.String()}
	}
	for _, addr := range []*net.IPNet{src, dst} {
		if addr != nil {
			pool.AddNet(addr)
		}
	}
	return nil
}

func pullAny(pool *ippool.IPPool, addrs []string, excluded []*ippool.IPPool) *net.IPNet {
	for _, addr := range addrs {
		if ipNet, err := pool.PullIPString(addr, excluded...); err == nil {
			return ipNet
		}
	}
	return nil
}

func (p *pair) free() {
	p.pool.AddNetString(p.src)
	p.pool.AddNetString(p.dst)
}

// in says whether one of the addresses is in one of the pools.
func (p *pair) in(pools []*ippool.IPPool) bool {
	return slices.ContainsFunc(pools, func(pool *ippool.IPPool) bool {
		return pool.ContainsString(p.src) || pool.ContainsString(p.dst)
	})
}

func (p *pair) add(ipContext *networkservice.IPContext) {
	addAddr(&ipContext.SrcIpAddrs, p.src)
	addAddr(&ipContext.DstIpAddrs, p.dst)
	addRoute(&ipContext.SrcRoutes, p.dst)
	addRoute(&ipContext.DstRoutes, p.src)
}

func (p *pair) remove(ipContext *networkservice.IPContext) {
	isAddr := func(addr string) func(string) bool { return func(a string) bool { return a == addr } }
	ipContext.SrcIpAddrs = slices.DeleteFunc(ipContext.SrcIpAddrs, isAddr(p.src))
	ipContext.DstIpAddrs = slices.DeleteFunc(ipContext.DstIpAddrs, isAddr(p.dst))
	ipContext.SrcRoutes = slices.DeleteFunc(ipContext.SrcRoutes, isRoute(p.dst))
	ipContext.DstRoutes = slices.DeleteFunc(ipContext.DstRoutes, isRoute(p.src))
}

func addAddr(addrs *[]string, addr string) {
	if !slices.Contains(*addrs, addr) {
		*addrs = append(*addrs, addr)
	}
}

func addRoute(routes *[]*networkservice.Route, prefix string) {
	if !slices.ContainsFunc(*routes, isRoute(prefix)) {
		*routes = append(*routes, &networkservice.Route{Prefix: prefix})
	}
}

func isRoute(prefix string) func(*networkservice.Route) bool {
	return func(r *networkservice.Route) bool { return r.GetPrefix() == prefix }
}

// poolsOf returns the prefixes as a pool for each family.
func poolsOf(prefixes []string) []*ippool.IPPool {
	pools := []*ippool.IPPool{ippool.New(net.IPv4len), ippool.New(net.IPv6len)}
	for _, prefix := range prefixes {
		for _, pool := range pools {
			pool.AddNetString(prefix)
		}
	}
	return pools
}
