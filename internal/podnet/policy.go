// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// rulePriority is that of all our rules; those of one priority are asked in
	// the order in which they were added. The main table has 32766.
	rulePriority = 20000
	// firstTable is where the search for a free table begins, well above the
	// numbers that people choose by hand.
	firstTable = 78000
)

// Rules do not name the interface that they are for, but their tables do: all
// routes in a table of ours lead over one interface. Nothing else needs to be
// remembered to find the policies of an interface after a restart.

// setPolicies replaces the policies of the interface as a whole: the rules in
// their order, each after its table has been filled, and only then the old ones
// go. Packets meet the one set or the other.
func (p *pod) setPolicies(now *state, want []policy) error {
	have, rules := now.policies()
	keep := map[int]bool{}
	if slices.EqualFunc(have, want, samePolicy) {
		for _, r := range rules {
			keep[r.Table] = true
		}
		rules = nil
	} else if err := p.addPolicies(now, want); err != nil {
		return err
	}
	for _, r := range append(rules, now.orphans()...) {
		if err := p.delRule(r); err != nil {
			return err
		}
	}
	for _, r := range now.routes {
		if r.Protocol == Protocol && r.Table != mainTbl && !keep[r.Table] {
			if err := p.delRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pod) addPolicies(now *state, want []policy) error {
	tables := map[int]int{} // by policy of the Config
	for _, w := range want {
		table := tables[w.origin]
		if table == 0 {
			table = now.takeTable()
			tables[w.origin] = table
		}
		for _, r := range w.routes {
			if err := p.addRoute(p.routeTo(r, table)); err != nil {
				return err
			}
		}
		rule := w.rule(table)
		if err := change(func() error { return p.RuleAdd(rule) }, "add policy %s", rule); err != nil {
			return err
		}
	}
	return nil
}

func (p *pod) delRule(r netlink.Rule) error {
	return change(func() error { return p.RuleDel(&r) }, "remove policy %s", r)
}

// dropOrphans removes rules whose interface is gone.
func (p *pod) dropOrphans() error {
	now, err := p.observe()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range now.orphans() {
		errs = append(errs, p.delRule(r))
	}
	return errors.Join(errs...)
}

// restoreRules brings back the rules that are missing now. Their order counts,
// so the others of the interface are added again after them.
func (p *pod) restoreRules(now, to *state) error {
	if len(missing(to.rules, now.rules, ruleKey)) == 0 {
		return nil
	}
	there := map[string]bool{}
	for _, r := range now.rules {
		there[ruleKey(r)] = true
	}
	_, mine := to.policies()
	var errs []error
	for _, r := range append(mine, to.orphans()...) {
		if there[ruleKey(r)] {
			errs = append(errs, p.RuleDel(&r))
		}
		errs = append(errs, p.RuleAdd(&r))
	}
	return errors.Join(errs...)
}

// policies are those of the interface, with the rules that make them up.
func (s *state) policies() (all []policy, rules []netlink.Rule) {
	for _, rule := range s.rules {
		w := policy{selector: selectorOf(rule)}
		mine := false
		for _, r := range s.routes {
			if r.Protocol != Protocol || r.Table != rule.Table {
				continue
			}
			mine = true
			if r.Family == rule.Family {
				w.routes = append(w.routes, routeOf(r))
			}
		}
		if mine {
			slices.SortFunc(w.routes, compareRoutes)
			all, rules = append(all, w), append(rules, rule)
		}
	}
	return all, rules
}

// orphans are rules of ours whose table the kernel has emptied together with
// the interface.
func (s *state) orphans() []netlink.Rule {
	var out []netlink.Rule
	for _, r := range s.rules {
		if !s.filled[r.Table] {
			out = append(out, r)
		}
	}
	return out
}

func (s *state) takeTable() int {
	table := firstTable
	for s.used[table] {
		table++
	}
	s.used[table] = true
	return table
}

func samePolicy(a, b policy) bool {
	return a.selector == b.selector && slices.Equal(a.routes, b.routes)
}

func (s selector) rule(table int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table, r.Protocol = unix.AF_INET, rulePriority, table, Protocol
	if s.ipv6 {
		r.Family = unix.AF_INET6
	}
	if s.from.IsValid() {
		r.Src = ipNet(s.from)
	}
	r.IPProto = int(s.protocol)
	r.Sport, r.Dport = s.srcPort.rule(), s.dstPort.rule()
	return r
}

func (r PortRange) rule() *netlink.RulePortRange {
	if r == (PortRange{}) {
		return nil
	}
	return netlink.NewRulePortRange(r.First, r.Last)
}

func selectorOf(r netlink.Rule) selector {
	s := selector{ipv6: r.Family == unix.AF_INET6, protocol: uint8(r.IPProto)}
	if r.Src != nil {
		ones, _ := r.Src.Mask.Size()
		a, _ := netip.AddrFromSlice(r.Src.IP)
		s.from = netip.PrefixFrom(a, ones)
	}
	if r.Sport != nil {
		s.srcPort = PortRange{r.Sport.Start, r.Sport.End}
	}
	if r.Dport != nil {
		s.dstPort = PortRange{r.Dport.Start, r.Dport.End}
	}
	return s
}
