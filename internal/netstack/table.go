// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// prefixes are the destinations of a stack's routes.
type prefixes []netip.Prefix

func newPrefixes(routes []tcpip.Route) (all prefixes) {
	for _, route := range routes {
		id := route.Destination.ID()
		if a, ok := netip.AddrFromSlice(id.AsSlice()); ok {
			all = append(all, netip.PrefixFrom(a, route.Destination.Prefix()))
		}
	}
	return all
}

// longest is the length of the longest prefix that contains a, -1 if there is none.
func (all prefixes) longest(a netip.Addr) int {
	length := -1
	for _, p := range all {
		if p.Contains(a) {
			length = max(length, p.Bits())
		}
	}
	return length
}

// Table holds the stacks of a pod by the id of their connection. The zero Table is
// empty and ready. It is safe for concurrent use.
type Table struct {
	mu     sync.Mutex
	stacks map[string]*Stack
}

// Put adds a stack, or replaces that of the same id.
func (t *Table) Put(id string, s *Stack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stacks == nil {
		t.stacks = make(map[string]*Stack)
	}
	t.stacks[id] = s
}

// Remove takes the stack of id out, if it is s.
func (t *Table) Remove(id string, s *Stack) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stacks[id] == s {
		delete(t.stacks, id)
	}
}

// Get is the stack of a connection, nil if it has none.
func (t *Table) Get(id string) *Stack {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stacks[id]
}

// Lookup finds the stack with the longest route to an address, nil if none leads
// there.
func (t *Table) Lookup(a netip.Addr) *Stack {
	t.mu.Lock()
	defer t.mu.Unlock()
	var best *Stack
	length := -1
	for _, s := range t.stacks {
		s.mu.Lock()
		if n := s.prefix.longest(a.Unmap()); n > length {
			best, length = s, n
		}
		s.mu.Unlock()
	}
	return best
}
