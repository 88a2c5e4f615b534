// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// minMTU is what every IPv4 link must carry (RFC 791), minMTU6 what every
	// IPv6 link must (RFC 8200 section 5).
	minMTU, minMTU6, maxMTU = 68, 1280, 65535
	maxNameLen              = 15
)

// plan is a Config that has been checked and written out.
type plan struct {
	mtu           int
	addrs         []netip.Prefix
	routes        []route
	policies      []policy
	neighbours    []Neighbour
	ping, localIn bool
	ipv6          bool
}

// route is a route of the interface in the main table, or in that of a policy.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// policy is a rule for one address family and the routes of its table.
type policy struct {
	selector
	routes []route
	// origin counts the policies of the Config: the rules of one policy share
	// a table, whatever their family.
	origin int
}

// selector is what a rule looks at.
type selector struct {
	ipv6             bool
	from             netip.Prefix
	protocol         uint8
	srcPort, dstPort PortRange
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameLen || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00") {
		return invalid("interface name %q: must have 1 to %d bytes without slashes, colons and blanks", name, maxNameLen)
	}
	return nil
}

func planOf(c Config) (*plan, error) {
	p := &plan{mtu: c.MTU, ping: c.Ping, localIn: c.RouteLocalnet}
	for _, a := range c.Addresses {
		if err := checkHost("address", a); err != nil {
			return nil, err
		}
		p.ipv6 = p.ipv6 || a.Addr().Is6()
		if !slices.Contains(p.addrs, a) {
			p.addrs = append(p.addrs, a)
		}
	}
	for _, a := range c.Peers {
		if err := checkHost("peer address", a); err != nil {
			return nil, err
		}
		if !within(c.Addresses, a.Addr()) {
			p.addRoute(route{dst: netip.PrefixFrom(a.Addr(), a.Addr().BitLen())})
		}
	}
	for _, r := range c.Routes {
		planned, err := c.route(r)
		if err != nil {
			return nil, err
		}
		p.addRoute(planned)
	}
	for i, rule := range c.Policies {
		if err := p.addPolicy(c, i, rule); err != nil {
			return nil, fmt.Errorf("policy %d: %w", i+1, err)
		}
	}
	// The kernel lists its rules by family; so do we, to compare.
	slices.SortStableFunc(p.policies, func(a, b policy) int { return familyRank(a) - familyRank(b) })
	for _, n := range c.Neighbours {
		if err := p.addNeighbour(n); err != nil {
			return nil, err
		}
	}
	switch {
	case c.MTU == 0:
	case c.MTU < minMTU || c.MTU > maxMTU:
		return nil, invalid("MTU %d: must be %d to %d", c.MTU, minMTU, maxMTU)
	case p.ipv6 && c.MTU < minMTU6:
		return nil, invalid("MTU %d: IPv6 needs %d (RFC 8200)", c.MTU, minMTU6)
	}
	return p, nil
}

func (p *plan) addRoute(r route) {
	p.ipv6 = p.ipv6 || r.dst.Addr().Is6()
	if !slices.Contains(p.routes, r) {
		p.routes = append(p.routes, r)
	}
}

func (p *plan) addPolicy(c Config, origin int, rule Policy) error {
	for _, ports := range []PortRange{rule.SrcPort, rule.DstPort} {
		// The kernel takes neither port 0 nor a range that runs backwards.
		if ports != (PortRange{}) && (ports.First == 0 || ports.Last < ports.First) {
			return invalid("port range %d-%d", ports.First, ports.Last)
		}
	}
	if rule.From != (netip.Prefix{}) {
		if err := checkNet("source", rule.From); err != nil {
			return err
		}
	}
	byFamily := map[bool][]route{}
	for _, r := range rule.Routes {
		planned, err := c.route(r)
		if err != nil {
			return err
		}
		is6 := planned.dst.Addr().Is6()
		if rule.From.IsValid() && rule.From.Addr().Is6() != is6 {
			return invalid("source %s and route %s are of different families", rule.From, r.Prefix)
		}
		if !slices.Contains(byFamily[is6], planned) {
			byFamily[is6] = append(byFamily[is6], planned)
		}
	}
	for _, is6 := range []bool{false, true} {
		routes := byFamily[is6]
		if len(routes) == 0 {
			continue
		}
		p.ipv6 = p.ipv6 || is6
		slices.SortFunc(routes, compareRoutes)
		s := selector{ipv6: is6, protocol: rule.Protocol, srcPort: rule.SrcPort, dstPort: rule.DstPort}
		// The kernel leaves a source of length 0 out of what it shows.
		if rule.From.Bits() > 0 {
			s.from = rule.From.Masked()
		}
		p.policies = append(p.policies, policy{selector: s, routes: routes, origin: origin})
	}
	return nil
}

func (p *plan) addNeighbour(n Neighbour) error {
	if err := checkHost("neighbour", netip.PrefixFrom(n.Addr, n.Addr.BitLen())); err != nil {
		return err
	}
	if len(n.HardwareAddr) != 6 || n.HardwareAddr[0]&1 != 0 {
		return invalid("hardware address %q of neighbour %s: must be a unicast Ethernet address", n.HardwareAddr, n.Addr)
	}
	for _, other := range p.neighbours {
		if other.Addr == n.Addr {
			if other.HardwareAddr.String() != n.HardwareAddr.String() {
				return invalid("neighbour %s has two hardware addresses, %s and %s", n.Addr, other.HardwareAddr, n.HardwareAddr)
			}
			return nil
		}
	}
	p.neighbours = append(p.neighbours, n)
	return nil
}

// route checks a route and finds its next hop.
func (c Config) route(r Route) (route, error) {
	if err := checkNet("route", r.Prefix); err != nil {
		return route{}, err
	}
	planned := route{dst: r.Prefix.Masked(), via: r.Via}
	if r.Via.IsValid() {
		if err := checkHost("next hop", netip.PrefixFrom(r.Via, r.Via.BitLen())); err != nil {
			return route{}, fmt.Errorf("route %s: %w", r.Prefix, err)
		}
		if r.Via.Is6() != r.Prefix.Addr().Is6() {
			return route{}, invalid("route %s and its next hop %s are of different families", r.Prefix, r.Via)
		}
		if planned.dst.IsSingleIP() && planned.dst.Addr() == r.Via {
			planned.via = netip.Addr{} // the way to a next hop cannot lead over itself
		}
		return planned, nil
	}
	if within(c.Peers, r.Prefix.Addr()) {
		return planned, nil
	}
	for _, peer := range c.Peers {
		if peer.Addr().Is6() == r.Prefix.Addr().Is6() {
			planned.via = peer.Addr()
			break
		}
	}
	return planned, nil
}

// checkHost refuses what cannot be the address of one interface.
func checkHost(what string, p netip.Prefix) error {
	if err := checkNet(what, p); err != nil {
		return err
	}
	if a := p.Addr(); a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return invalid("%s %s: not the address of an interface", what, a)
	}
	return nil
}

func checkNet(what string, p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return invalid("%s is missing or has no proper length", what)
	case p.Addr().Is4In6():
		return invalid("%s %s: write an IPv4 address as such, not mapped into IPv6", what, p)
	case p.Addr().Zone() != "":
		return invalid("%s %s: must not have a zone", what, p)
	}
	return nil
}

func familyRank(p policy) int {
	if p.ipv6 {
		return 1
	}
	return 0
}

func within(nets []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(a) })
}

func compareRoutes(a, b route) int {
	if c := a.dst.Addr().Compare(b.dst.Addr()); c != 0 {
		return c
	}
	if c := a.dst.Bits() - b.dst.Bits(); c != 0 {
		return c
	}
	return a.via.Compare(b.via)
}
