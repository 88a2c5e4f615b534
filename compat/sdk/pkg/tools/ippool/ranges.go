// SPDX-License-Identifier: Apache-2.0

package ippool

import (
	"net/netip"
	"slices"
)

// span is the addresses from first to last, both included, of one family.
type span struct {
	first, last netip.Addr
}

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return span{p.Addr(), addr}
}

// prefixes covers the span with as few prefixes as possible.
func (s span) prefixes() []string {
	var list []string
	for first := s.first; ; {
		// The largest prefix that begins at first and ends within the span.
		bits := first.BitLen()
		for bits > 0 {
			wider := netip.PrefixFrom(first, bits-1)
			if wider.Masked().Addr() != first || spanOf(wider).last.Compare(s.last) > 0 {
				break
			}
			bits--
		}
		block := netip.PrefixFrom(first, bits)
		list = append(list, block.String())
		end := spanOf(block).last
		if end == s.last {
			return list
		}
		first = end.Next()
	}
}

// ranges is sorted; its spans neither overlap nor touch. Methods return a new
// value and leave the receiver as it is.
type ranges []span

func (r ranges) contains(s span) bool {
	i, found := slices.BinarySearchFunc(r, s.first, func(e span, a netip.Addr) int { return e.first.Compare(a) })
	if !found {
		i--
	}
	return i >= 0 && r[i].last.Compare(s.last) >= 0
}

func (r ranges) insert(s span) ranges {
	out := make(ranges, 0, len(r)+1)
	placed := false
	for _, e := range r {
		switch {
		case below(e, s):
			out = append(out, e)
		case below(s, e):
			if !placed {
				out, placed = append(out, s), true
			}
			out = append(out, e)
		default: // overlap or touch: grow s
			if e.first.Less(s.first) {
				s.first = e.first
			}
			if s.last.Less(e.last) {
				s.last = e.last
			}
		}
	}
	if !placed {
		out = append(out, s)
	}
	return out
}

func (r ranges) remove(s span) ranges {
	out := make(ranges, 0, len(r)+1)
	for _, e := range r {
		if e.last.Less(s.first) || s.last.Less(e.first) {
			out = append(out, e)
			continue
		}
		if e.first.Less(s.first) {
			out = append(out, span{e.first, s.first.Prev()})
		}
		if s.last.Less(e.last) {
			out = append(out, span{s.last.Next(), e.last})
		}
	}
	return out
}

func (r ranges) without(other ranges) ranges {
	for _, s := range other {
		r = r.remove(s)
	}
	return r
}

// below says that a ends before b begins, with a gap between them.
func below(a, b span) bool {
	next := a.last.Next()
	return next.IsValid() && next.Less(b.first)
}
