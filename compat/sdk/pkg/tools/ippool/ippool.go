// SPDX-License-Identifier: Apache-2.0

// Package ippool keeps sets of free IP addresses and hands out the lowest.
package ippool

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// errExhausted is returned when a pool has too few addresses left.
var errExhausted = errors.New("no address left in the pool")

// IPPool is a set of free addresses of one family. It is safe for concurrent
// use. Addresses and networks of the other family are ignored.
type IPPool struct {
	mu   sync.Mutex
	bits int // of an address: 32 or 128
	free ranges
}

// New returns an empty pool for addresses of ipLength bytes (net.IPv4len or
// net.IPv6len).
func New(ipLength int) *IPPool {
	return &IPPool{bits: ipLength * 8}
}

// NewWithNet returns a pool that holds every address of ipNet.
func NewWithNet(ipNet *net.IPNet) *IPPool {
	length := net.IPv6len
	if ipNet.IP.To4() != nil && len(ipNet.Mask) == net.IPv4len {
		length = net.IPv4len
	}
	pool := New(length)
	pool.AddNet(ipNet)
	return pool
}

// NewWithNetString is NewWithNet for a prefix as text; nil if that is none.
func NewWithNetString(ipNetString string) *IPPool {
	_, ipNet, err := net.ParseCIDR(strings.TrimSpace(ipNetString))
	if err != nil {
		return nil
	}
	return NewWithNet(ipNet)
}

// Clone returns an independent copy.
func (tree *IPPool) Clone() *IPPool {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	return &IPPool{bits: tree.bits, free: append(ranges(nil), tree.free...)}
}

// Add puts ip into the pool.
func (tree *IPPool) Add(ip net.IP) {
	if addr, ok := tree.addr(ip); ok {
		tree.add(span{addr, addr})
	}
}

// AddString puts an address in, given as text with or without a prefix length.
func (tree *IPPool) AddString(in string) {
	if ip := parseIP(in); ip != nil {
		tree.Add(ip)
	}
}

// AddNet puts every address of ipNet into the pool.
func (tree *IPPool) AddNet(ipNet *net.IPNet) {
	if s, ok := tree.span(ipNet); ok {
		tree.add(s)
	}
}

// AddNetString is AddNet for a prefix as text.
func (tree *IPPool) AddNetString(ipNetString string) {
	if _, ipNet, err := net.ParseCIDR(strings.TrimSpace(ipNetString)); err == nil {
		tree.AddNet(ipNet)
	}
}

// Contains says whether ip is in the pool.
func (tree *IPPool) Contains(ip net.IP) bool {
	addr, ok := tree.addr(ip)
	return ok && tree.contains(span{addr, addr})
}

// ContainsString is Contains for an address as text, with or without a prefix
// length.
func (tree *IPPool) ContainsString(in string) bool {
	ip := parseIP(in)
	return ip != nil && tree.Contains(ip)
}

// ContainsNet says whether every address of ipNet is in the pool.
func (tree *IPPool) ContainsNet(ipNet *net.IPNet) bool {
	s, ok := tree.span(ipNet)
	return ok && tree.contains(s)
}

// ContainsNetString is ContainsNet for a prefix as text.
func (tree *IPPool) ContainsNetString(ipNetRaw string) bool {
	_, ipNet, err := net.ParseCIDR(strings.TrimSpace(ipNetRaw))
	return err == nil && tree.ContainsNet(ipNet)
}

// Exclude takes every address of ipNet out of the pool.
func (tree *IPPool) Exclude(ipNet *net.IPNet) {
	if s, ok := tree.span(ipNet); ok {
		tree.mu.Lock()
		defer tree.mu.Unlock()
		tree.free = tree.free.remove(s)
	}
}

// ExcludeString is Exclude for a prefix as text.
func (tree *IPPool) ExcludeString(ipNetString string) {
	if _, ipNet, err := net.ParseCIDR(strings.TrimSpace(ipNetString)); err == nil {
		tree.Exclude(ipNet)
	}
}

// Pull takes the lowest address out of the pool.
func (tree *IPPool) Pull() (net.IP, error) {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	if len(tree.free) == 0 {
		return nil, errExhausted
	}
	return tree.take(tree.free[0].first).IP, nil
}

// PullIPString is PullIP for an address as text, with or without a prefix length.
func (tree *IPPool) PullIPString(ipString string, exclude ...*IPPool) (*net.IPNet, error) {
	ip := parseIP(ipString)
	if ip == nil {
		return nil, fmt.Errorf("pull address: %q is no IP address", ipString)
	}
	return tree.PullIP(ip, exclude...)
}

// PullIP takes this one address out of the pool and returns it as a /32 or
// /128. It is an error if the pool does not hold it or exclude does.
func (tree *IPPool) PullIP(ip net.IP, exclude ...*IPPool) (*net.IPNet, error) {
	addr, ok := tree.addr(ip)
	if !ok {
		return nil, fmt.Errorf("pull address %s: of another family", ip)
	}
	excluded := tree.excluded(exclude)

	tree.mu.Lock()
	defer tree.mu.Unlock()
	one := span{addr, addr}
	if !tree.free.contains(one) {
		return nil, fmt.Errorf("pull address %s: not in the pool or taken", ip)
	}
	if excluded.contains(one) {
		return nil, fmt.Errorf("pull address %s: excluded", ip)
	}
	return tree.take(addr), nil
}

// PullP2PAddrs takes the two lowest addresses that are not in exclude, as /32
// or /128, the lower one first. If there are not two, the pool stays as it is.
func (tree *IPPool) PullP2PAddrs(exclude ...*IPPool) (srcNet, dstNet *net.IPNet, err error) {
	excluded := tree.excluded(exclude)

	tree.mu.Lock()
	defer tree.mu.Unlock()
	allowed := tree.free.without(excluded)
	if len(allowed) == 0 {
		return nil, nil, errExhausted
	}
	first := allowed[0].first
	allowed = allowed.remove(span{first, first})
	if len(allowed) == 0 {
		return nil, nil, errExhausted
	}
	return tree.take(first), tree.take(allowed[0].first), nil
}

// GetPrefixes returns the pool's content as the shortest list of prefixes, in
// order of address.
func (tree *IPPool) GetPrefixes() []string {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	var prefixes []string
	for _, s := range tree.free {
		prefixes = append(prefixes, s.prefixes()...)
	}
	return prefixes
}

// Empty says whether no address is left.
func (tree *IPPool) Empty() bool {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	return len(tree.free) == 0
}

// Clear takes every address out.
func (tree *IPPool) Clear() {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	tree.free = nil
}

func (tree *IPPool) add(s span) {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	tree.free = tree.free.insert(s)
}

func (tree *IPPool) contains(s span) bool {
	tree.mu.Lock()
	defer tree.mu.Unlock()
	return tree.free.contains(s)
}

// take must be called with mu held and addr in the pool.
func (tree *IPPool) take(addr netip.Addr) *net.IPNet {
	tree.free = tree.free.remove(span{addr, addr})
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(tree.bits, tree.bits)}
}

// excluded joins the pools of this family. It copies them one by one, so no
// two pools are ever locked together.
func (tree *IPPool) excluded(pools []*IPPool) ranges {
	var all ranges
	for _, pool := range pools {
		if pool == nil || pool.bits != tree.bits {
			continue
		}
		for _, s := range pool.Clone().free {
			all = all.insert(s)
		}
	}
	return all
}

func (tree *IPPool) addr(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}, false
	}
	addr = addr.Unmap()
	return addr, addr.BitLen() == tree.bits
}

func (tree *IPPool) span(ipNet *net.IPNet) (span, bool) {
	if ipNet == nil {
		return span{}, false
	}
	addr, ok := tree.addr(ipNet.IP)
	ones, bits := ipNet.Mask.Size()
	if !ok || bits != tree.bits {
		return span{}, false
	}
	return spanOf(netip.PrefixFrom(addr, ones)), true
}

func parseIP(s string) net.IP {
	s = strings.TrimSpace(s)
	if ip, _, err := net.ParseCIDR(s); err == nil {
		return ip
	}
	return net.ParseIP(s)
}
