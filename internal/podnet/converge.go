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

const (
	// metric6 is below that of the kernel's own choice (1024), so that ours win
	// over a pod's route to the same destination. IPv4 has no room below the
	// usual metric, 0; there the route that was added last wins.
	metric6 = 512
	mainTbl = unix.RT_TABLE_MAIN
)

// fault is where a test makes one change fail.
var fault = func(string) error { return nil }

// change makes one change to the kernel's state and names it in the error.
func change(f func() error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	err := fault(what)
	if err == nil {
		err = f()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// converge brings the interface to the plan. The order: link; addresses that
// must go, because the kernel drops routes with the last of them; addresses,
// because a namespace without any refuses next hops; neighbours, policies,
// routes, settings.
func (p *pod) converge(now *state, want *plan) error {
	if want.ipv6 && !p.ipv6 {
		return invalid("this kernel has no IPv6")
	}
	if err := p.prepareLink(now, want); err != nil {
		return err
	}
	stale := missing(now.addrs, addrsOf(want.addrs), addrKey)
	for _, a := range stale {
		if err := p.delAddr(a); err != nil {
			return err
		}
	}
	if len(stale) > 0 {
		var err error
		if now, err = p.observe(); err != nil {
			return err
		}
	}
	for _, a := range missing(addrsOf(want.addrs), now.addrs, addrKey) {
		if err := p.addAddr(a); err != nil {
			return err
		}
	}
	if err := p.setNeighbours(now, want.neighbours); err != nil {
		return err
	}
	if err := p.setPolicies(now, want.policies); err != nil {
		return err
	}
	if err := p.setRoutes(now, want.routes); err != nil {
		return err
	}
	return p.setSettings(now, want)
}

func (p *pod) prepareLink(now *state, want *plan) error {
	if want.mtu != 0 && want.mtu != now.mtu {
		if err := p.setMTU(want.mtu); err != nil {
			return err
		}
	}
	if key := p.disableIPv6(); want.ipv6 && now.settings[key] == "1" {
		if err := p.setSysctl(key, "0"); err != nil {
			return err
		}
	}
	if !now.up {
		return change(func() error { return p.LinkSetUp(p.link) }, "bring the interface up")
	}
	return nil
}

func (p *pod) setSettings(now *state, want *plan) error {
	const allGroups = "0 2147483647"
	if want.localIn && now.settings[p.routeLocalnet()] != "1" {
		if err := p.setSysctl(p.routeLocalnet(), "1"); err != nil {
			return err
		}
	}
	if want.ping && now.settings[pingGroups] != allGroups {
		return p.setSysctl(pingGroups, allGroups)
	}
	return nil
}

// setRoutes adds first and removes then: a route that changes its next hop is
// never missing.
func (p *pod) setRoutes(now *state, want []route) error {
	ours := now.routesWhere(func(r netlink.Route) bool { return r.Protocol == Protocol && r.Table == mainTbl })
	var wanted []netlink.Route
	for _, r := range want {
		wanted = append(wanted, p.routeTo(r, mainTbl))
	}
	for _, r := range missing(wanted, ours, keyOf) {
		if err := p.addRoute(r); err != nil {
			return err
		}
	}
	for _, r := range missing(ours, wanted, keyOf) {
		if err := p.delRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// strip removes what is ours.
func (p *pod) strip(now *state) error {
	var errs []error
	errs = append(errs, p.setPolicies(now, nil), p.setRoutes(now, nil))
	for _, a := range now.addrs {
		errs = append(errs, p.delAddr(a))
	}
	return errors.Join(append(errs, p.setNeighbours(now, nil))...)
}

// restore brings the interface back to an earlier state. It goes on after
// errors, and reports all.
func (p *pod) restore(to *state) error {
	now, err := p.observe()
	if err != nil {
		return err
	}
	ours := func(s *state) []netlink.Route {
		return s.routesWhere(func(r netlink.Route) bool { return r.Protocol == Protocol })
	}
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	for _, r := range missing(now.rules, to.rules, ruleKey) {
		try(p.RuleDel(&r))
	}
	for _, r := range missing(ours(now), ours(to), keyOf) {
		try(p.RouteDel(&r))
	}
	for _, a := range missing(now.addrs, to.addrs, addrKey) {
		try(p.AddrDel(p.link, &a))
	}
	for _, n := range missing(now.neigh, to.neigh, itself) {
		try(p.dropNeighbour(n))
	}
	if now.mtu != to.mtu {
		try(p.LinkSetMTU(p.link, to.mtu))
	}
	for key, value := range to.settings {
		if now.settings[key] != value {
			try(writeSysctl(key, value))
		}
	}
	if now.up && !to.up {
		try(p.LinkSetDown(p.link))
	}
	// What the changes above may have taken along has to come back as well.
	if now, err = p.observe(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, a := range missing(to.addrs, now.addrs, addrKey) {
		if a.Broadcast == nil {
			a.Broadcast = net.IPv4zero // as it was, without the library's default
		}
		try(p.AddrReplace(p.link, &a))
	}
	for _, n := range missing(to.neigh, now.neigh, itself) {
		try(p.putNeighbour(n))
	}
	for _, r := range missing(to.routes, now.routes, keyOf) {
		r.Flags &= unix.RTNH_F_ONLINK // the others are what the kernel saw
		try(p.RouteAddEcmp(&r))
	}
	try(p.restoreRules(now, to))
	return errors.Join(errs...)
}

func (s *state) routesWhere(is func(netlink.Route) bool) []netlink.Route {
	var out []netlink.Route
	for _, r := range s.routes {
		if is(r) {
			out = append(out, r)
		}
	}
	return out
}

// routeTo is the route as the kernel will show it.
func (p *pod) routeTo(r route, table int) netlink.Route {
	out := netlink.Route{
		LinkIndex: p.link.Attrs().Index,
		Dst:       ipNet(r.dst),
		Protocol:  Protocol,
		Table:     table,
		Family:    unix.AF_INET,
		Scope:     unix.RT_SCOPE_LINK,
	}
	if r.dst.Addr().Is6() {
		out.Family, out.Priority, out.Scope = unix.AF_INET6, metric6, unix.RT_SCOPE_UNIVERSE
	}
	if r.via.IsValid() {
		out.Gw, out.Scope, out.Flags = r.via.AsSlice(), unix.RT_SCOPE_UNIVERSE, unix.RTNH_F_ONLINK
	}
	return out
}

func addrsOf(prefixes []netip.Prefix) []netlink.Addr {
	var out []netlink.Addr
	for _, a := range prefixes {
		addr := netlink.Addr{IPNet: ipNet(a), Scope: unix.RT_SCOPE_UNIVERSE, Flags: unix.IFA_F_PERMANENT}
		if a.Addr().Is6() {
			// The other end is a point that we know; waiting for duplicates would
			// hold up the first second of the connection.
			addr.Flags |= unix.IFA_F_NODAD
		}
		out = append(out, addr)
	}
	return out
}

func (p *pod) setMTU(mtu int) error {
	err := change(func() error { return p.LinkSetMTU(p.link, mtu) }, "set MTU %d", mtu)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return fmt.Errorf("%w (a %s interface does not take it)", err, p.link.Type())
	}
	return err
}

func (p *pod) setSysctl(key, value string) error {
	return change(func() error { return writeSysctl(key, value) }, "set %s to %s", key, value)
}

func (p *pod) addAddr(a netlink.Addr) error {
	return change(func() error { return p.AddrReplace(p.link, &a) }, "add address %s", a.IPNet)
}

// delAddr takes an address away, if the kernel has not done so with another
// one of its network.
func (p *pod) delAddr(a netlink.Addr) error {
	return change(func() error {
		if err := p.AddrDel(p.link, &a); !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
		return nil
	}, "remove address %s", a.IPNet)
}

// addRoute adds a route in front of others to the same destination.
func (p *pod) addRoute(r netlink.Route) error {
	return change(func() error { return p.RouteAddEcmp(&r) }, "add route to %s", r.Dst)
}

func (p *pod) delRoute(r netlink.Route) error {
	return change(func() error {
		if err := p.RouteDel(&r); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	}, "remove route to %s", routeOf(r).dst)
}
