// SPDX-License-Identifier: Apache-2.0

package connectioncontext

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
)

// ClientConfig is what the client's interface gets: the source side of the
// context, and the policy routes. The error names the part that does not parse.
func ClientConfig(c *networkservice.ConnectionContext) (podnet.Config, error) {
	ip := c.GetIpContext()
	config, err := newConfig(c, ip.GetSrcIpAddrs(), ip.GetDstIpAddrs(), ip.GetSrcRoutes())
	if err != nil {
		return podnet.Config{}, err
	}
	for _, p := range ip.GetPolicies() {
		policy, err := newPolicy(p)
		if err != nil {
			return podnet.Config{}, err
		}
		config.Policies = append(config.Policies, policy)
	}
	return config, nil
}

// EndpointConfig is what the endpoint's interface gets: the destination side. The
// error names the part that does not parse.
func EndpointConfig(c *networkservice.ConnectionContext) (podnet.Config, error) {
	ip := c.GetIpContext()
	return newConfig(c, ip.GetDstIpAddrs(), ip.GetSrcIpAddrs(), ip.GetDstRoutes())
}

func newConfig(c *networkservice.ConnectionContext, own, peer []string, routes []*networkservice.Route) (podnet.Config, error) {
	config := podnet.Config{MTU: int(c.GetMTU()), Ping: true}
	var err error
	if config.Addresses, err = parsePrefixes("address", own); err != nil {
		return podnet.Config{}, err
	}
	if config.Peers, err = parsePrefixes("peer address", peer); err != nil {
		return podnet.Config{}, err
	}
	if config.Routes, err = newRoutes(routes); err != nil {
		return podnet.Config{}, err
	}
	for _, n := range c.GetIpContext().GetIpNeighbors() {
		addr, err := netip.ParseAddr(n.GetIp())
		if err != nil {
			return podnet.Config{}, fmt.Errorf("connection context: neighbour %q: %w", n.GetIp(), err)
		}
		mac, err := net.ParseMAC(n.GetHardwareAddress())
		if err != nil {
			return podnet.Config{}, fmt.Errorf("connection context: neighbour %s: %w", addr, err)
		}
		config.Neighbours = append(config.Neighbours, podnet.Neighbour{Addr: addr, HardwareAddr: mac})
	}
	return config, nil
}

// parsePrefixes reads addresses with the lengths of their networks; one
// without a length is a host.
func parsePrefixes(what string, texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("connection context: %s %q: %w", what, text, err)
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func newRoutes(routes []*networkservice.Route) ([]podnet.Route, error) {
	var out []podnet.Route
	for _, r := range routes {
		prefix, err := parsePrefix(r.GetPrefix())
		if err != nil {
			return nil, fmt.Errorf("connection context: route %q: %w", r.GetPrefix(), err)
		}
		route := podnet.Route{Prefix: prefix.Masked()}
		if hop := r.GetNextHop(); hop != "" {
			if route.Via, err = netip.ParseAddr(hop); err != nil {
				return nil, fmt.Errorf("connection context: next hop %q of route %s: %w", hop, prefix, err)
			}
		}
		out = append(out, route)
	}
	return out, nil
}
