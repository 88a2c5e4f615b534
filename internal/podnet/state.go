// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// state is what the kernel says about the interface, as far as Apply may
// change it, on purpose or because the kernel drops routes with an address.
type state struct {
	mtu   int
	up    bool
	addrs []netlink.Addr // permanent, of global scope
	neigh []neighbour
	// routes of the interface in all tables, also other people's, but not those
	// that the kernel makes and takes back by itself.
	routes []netlink.Route
	// rules of ours for all interfaces of the namespace, in their order.
	rules []netlink.Rule
	// used are the tables that a rule or a route of anybody mentions, filled
	// those with a route of ours, over whatever interface. They are complete if there
	// are, or are to be, policies.
	used, filled map[int]bool
	settings     map[string]string
}

func (p *pod) families() []int {
	if p.ipv6 {
		return []int{unix.AF_INET, unix.AF_INET6}
	}
	return []int{unix.AF_INET}
}

func (p *pod) observe() (*state, error) {
	s := &state{used: map[int]bool{}, filled: map[int]bool{}, settings: map[string]string{}}
	index := 0
	if p.link != nil {
		link, err := p.LinkByIndex(p.link.Attrs().Index)
		if err != nil {
			return nil, fmt.Errorf("read interface: %w", err)
		}
		p.link = link
		index = link.Attrs().Index
		s.mtu, s.up = link.Attrs().MTU, link.Attrs().Flags&net.FlagUp != 0
		if err := p.observeLink(s, index); err != nil {
			return nil, err
		}
	}
	for _, family := range p.families() {
		rules, err := complete(func() ([]netlink.Rule, error) { return p.RuleList(family) })
		if err != nil {
			return nil, fmt.Errorf("list policy rules: %w", err)
		}
		for _, r := range rules {
			s.used[r.Table] = true
			if r.Protocol == Protocol {
				r.Family = family
				s.rules = append(s.rules, r)
			}
		}
	}
	// Who has no policies needs to know nothing of other interfaces, of which a pod may
	// have a thousand.
	of := index
	if p.policies || len(s.rules) > 0 {
		of = 0
	}
	for _, family := range p.families() {
		routes, err := complete(func() ([]netlink.Route, error) { return p.routes(family, of) })
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			s.addRoute(r, family, index)
		}
	}
	return s, nil
}

// routes lists those of an interface in all tables, or all there are for index 0. Linux
// before 4.20 lists all in any case.
func (p *pod) routes(family, index int) ([]netlink.Route, error) {
	if index != 0 && p.SetStrictCheck(true) == nil {
		defer func() { _ = p.SetStrictCheck(false) }()
	}
	return p.RouteListFiltered(family, &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
}

func (p *pod) observeLink(s *state, index int) error {
	addrs, err := complete(func() ([]netlink.Addr, error) { return p.AddrList(p.link, unix.AF_UNSPEC) })
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		// The others come from router advertisements or DHCP, and go with them.
		if a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&unix.IFA_F_PERMANENT != 0 {
			s.addrs = append(s.addrs, a)
		}
	}
	if s.neigh, err = p.neighbours(index); err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for _, key := range []string{p.disableIPv6(), p.routeLocalnet(), pingGroups} {
		if s.settings[key], err = readSysctl(key); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) addRoute(r netlink.Route, family, index int) {
	s.used[r.Table] = true
	if r.Protocol == Protocol {
		s.filled[r.Table] = true
	}
	switch r.Protocol {
	case unix.RTPROT_KERNEL, unix.RTPROT_RA, unix.RTPROT_REDIRECT:
		return
	}
	r.Family = family
	// IPv6 shows routes with the same destination and metric as one.
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index && index != 0 && family == unix.AF_INET6 {
			single := r
			single.MultiPath, single.LinkIndex, single.Gw, single.Flags = nil, index, hop.Gw, hop.Flags
			s.routes = append(s.routes, single)
		}
	}
	if r.LinkIndex == index && index != 0 {
		s.routes = append(s.routes, r)
	}
}

// complete repeats a listing that changed while the kernel wrote it.
func complete[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 10
	for i := 1; ; i++ {
		all, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || i == tries {
			return all, err
		}
	}
}

func addrKey(a netlink.Addr) netip.Prefix { return prefixOf(a.IPNet) }

func ruleKey(r netlink.Rule) string {
	return fmt.Sprintf("%d %d %d %v %v %d %v %v", r.Family, r.Priority, r.Table, r.Src, r.Dst, r.IPProto, r.Sport, r.Dport)
}

// routeKey tells the routes of the interface apart.
type routeKey struct {
	route
	table, priority int
	protocol        netlink.RouteProtocol
}

func keyOf(r netlink.Route) routeKey {
	return routeKey{route: routeOf(r), table: r.Table, priority: r.Priority, protocol: r.Protocol}
}

func routeOf(r netlink.Route) route {
	out := route{dst: prefixOf(r.Dst)}
	if !out.dst.IsValid() {
		out.dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Family == unix.AF_INET6 {
			out.dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		out.via = gw.Unmap()
	}
	return out
}

// prefixOf converts what the kernel told; the length tells the family.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, size := n.Mask.Size()
	ip := n.IP
	if size == 32 {
		ip = ip.To4()
	}
	a, _ := netip.AddrFromSlice(ip)
	return netip.PrefixFrom(a, ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// missing are the elements of a that b lacks.
func missing[T any, K comparable](a, b []T, key func(T) K) []T {
	have := make(map[K]bool, len(b))
	for _, x := range b {
		have[key(x)] = true
	}
	var out []T
	for _, x := range a {
		if !have[key(x)] {
			out = append(out, x)
		}
	}
	return out
}
