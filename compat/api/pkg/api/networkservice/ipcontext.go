// SPDX-License-Identifier: Apache-2.0

package networkservice

import (
	"net"
	"slices"
)

// GetSrcIPNets returns the client's addresses with their prefix lengths (IP keeps
// the host bits). Addresses that do not parse are left out.
func (i *IPContext) GetSrcIPNets() []*net.IPNet { return parseAddrs(i.GetSrcIpAddrs()) }

// GetDstIPNets is GetSrcIPNets for the endpoint's addresses.
func (i *IPContext) GetDstIPNets() []*net.IPNet { return parseAddrs(i.GetDstIpAddrs()) }

// GetSrcIPRoutes returns a route without a gateway to each address of the client
// that lies in none of the endpoint's prefixes.
func (i *IPContext) GetSrcIPRoutes() []*Route {
	return hostRoutes(i.GetSrcIPNets(), i.GetDstIPNets())
}

// GetDstIPRoutes is GetSrcIPRoutes with the ends exchanged.
func (i *IPContext) GetDstIPRoutes() []*Route {
	return hostRoutes(i.GetDstIPNets(), i.GetSrcIPNets())
}

// GetSrcRoutesWithExplicitNextHop returns the client's routes. One without a
// gateway gets the endpoint's first address of its family, unless its prefix lies
// within the endpoint's prefixes and so is reached on the link itself.
func (i *IPContext) GetSrcRoutesWithExplicitNextHop() []*Route {
	return viaPeer(i.GetSrcRoutes(), i.GetDstIPNets())
}

// GetDstRoutesWithExplicitNextHop is GetSrcRoutesWithExplicitNextHop with the ends
// exchanged.
func (i *IPContext) GetDstRoutesWithExplicitNextHop() []*Route {
	return viaPeer(i.GetDstRoutes(), i.GetSrcIPNets())
}

// GetPrefixIPNet returns the prefix (IP keeps the host bits), nil when it does not
// parse.
func (r *Route) GetPrefixIPNet() *net.IPNet { return parseAddr(r.GetPrefix()) }

// GetNextHopIP returns the gateway, nil when there is none or it does not parse.
func (r *Route) GetNextHopIP() net.IP { return net.ParseIP(r.GetNextHop()) }

func hostRoutes(to, onLink []*net.IPNet) (routes []*Route) {
	for _, addr := range to {
		if !covers(onLink, addr.IP) {
			routes = append(routes, &Route{Prefix: addr.String()})
		}
	}
	return routes
}

func viaPeer(routes []*Route, peer []*net.IPNet) (explicit []*Route) {
	for _, route := range routes {
		prefix := route.GetPrefixIPNet()
		if prefix == nil || route.GetNextHopIP() != nil || covers(peer, prefix.IP) {
			explicit = append(explicit, route)
			continue
		}
		gateway := slices.IndexFunc(peer, func(addr *net.IPNet) bool { return sameFamily(addr.IP, prefix.IP) })
		if gateway >= 0 {
			route = route.Clone()
			route.NextHop = peer[gateway].IP.String()
		}
		explicit = append(explicit, route)
	}
	return explicit
}

func covers(prefixes []*net.IPNet, ip net.IP) bool {
	return slices.ContainsFunc(prefixes, func(prefix *net.IPNet) bool { return prefix.Contains(ip) })
}

func sameFamily(a, b net.IP) bool { return (a.To4() == nil) == (b.To4() == nil) }

func parseAddrs(addrs []string) (nets []*net.IPNet) {
	for _, addr := range addrs {
		if parsed := parseAddr(addr); parsed != nil {
			nets = append(nets, parsed)
		}
	}
	return nets
}

func parseAddr(addr string) *net.IPNet {
	ip, prefix, err := net.ParseCIDR(addr)
	if err != nil {
		return nil
	}
	return &net.IPNet{IP: ip, Mask: prefix.Mask}
}
