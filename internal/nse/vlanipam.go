// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// vlanIPAM gives each client an address of the VLAN's network, with the length
// of its prefix: everybody on it is a neighbour. There is no peer to have the
// other address, and no route.
type vlanIPAM struct {
	prefixes []netip.Prefix

	mu       sync.Mutex
	assigned map[string]netip.Prefix // by connection id; the address, and the length
	taken    map[netip.Addr]bool
}

// newVLANIPAM takes addresses from the first prefix that has one.
func newVLANIPAM(prefixes ...*net.IPNet) networkservice.NetworkServiceServer {
	s := &vlanIPAM{assigned: make(map[string]netip.Prefix), taken: make(map[netip.Addr]bool)}
	for _, p := range prefixes {
		if addr, ok := netip.AddrFromSlice(p.IP); ok {
			ones, _ := p.Mask.Size()
			s.prefixes = append(s.prefixes, netip.PrefixFrom(addr.Unmap(), ones).Masked())
		}
	}
	return s
}

func (s *vlanIPAM) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn.GetContext() == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	if conn.GetContext().GetIpContext() == nil {
		conn.GetContext().IpContext = &networkservice.IPContext{}
	}
	id := conn.GetId()
	first, err := s.assign(id, conn.GetContext().GetIpContext())
	if err != nil {
		return nil, err
	}
	conn, err = next.Server(ctx).Request(ctx, request)
	if err != nil && first {
		s.free(id)
	}
	return conn, err
}

// assign puts an address into the context: the one that the connection has, or
// comes with after a restart of ours, or the lowest free one. It tells whether
// the connection had none from us before.
func (s *vlanIPAM) assign(id string, ip *networkservice.IPContext) (first bool, err error) {
	excluded := parseable(ip.GetExcludedPrefixes())
	s.mu.Lock()
	defer s.mu.Unlock()
	have, again := s.assigned[id]
	if again && !within(have.Addr(), excluded).IsValid() {
		add(ip, have)
		return false, nil
	}
	found, ok := s.recover(ip, excluded)
	if !ok {
		found, ok = s.lowest(excluded)
	}
	if !ok {
		return false, errNoVLANAddress
	}
	if again {
		delete(s.taken, have.Addr())
		ip.SrcIpAddrs = slices.DeleteFunc(ip.GetSrcIpAddrs(), func(a string) bool { return a == have.String() })
	}
	s.assigned[id], s.taken[found.Addr()] = found, true
	add(ip, found)
	return !again, nil
}

func add(ip *networkservice.IPContext, p netip.Prefix) {
	if !slices.Contains(ip.GetSrcIpAddrs(), p.String()) {
		ip.SrcIpAddrs = append(ip.SrcIpAddrs, p.String())
	}
}

// recover finds an address of ours that the connection comes with and nobody
// else has.
func (s *vlanIPAM) recover(ip *networkservice.IPContext, excluded []netip.Prefix) (netip.Prefix, bool) {
	for _, have := range parseable(ip.GetSrcIpAddrs()) {
		for _, p := range s.prefixes {
			if p.Contains(have.Addr()) && p.Bits() == have.Bits() && usable(p, have.Addr()) &&
				!s.taken[have.Addr()] && !within(have.Addr(), excluded).IsValid() {
				return have, true
			}
		}
	}
	return netip.Prefix{}, false
}

func (s *vlanIPAM) lowest(excluded []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range s.prefixes {
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if e := within(a, excluded); e.IsValid() {
				a = last(e)
				continue
			}
			if usable(p, a) && !s.taken[a] {
				return netip.PrefixFrom(a, p.Bits()), true
			}
		}
	}
	return netip.Prefix{}, false
}

// usable tells whether a host may have the address: not the network's own, nor
// its broadcast address. Links of two (RFC 3021, RFC 6164) and of one have none.
func usable(p netip.Prefix, a netip.Addr) bool {
	if a.BitLen()-p.Bits() < 2 {
		return true
	}
	return a != p.Addr() && (a.Is6() || a != last(p))
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	bytes := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// within returns a prefix that holds the address, if there is one.
func within(a netip.Addr, prefixes []netip.Prefix) netip.Prefix {
	for _, p := range prefixes {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}

func parseable(texts []string) (prefixes []netip.Prefix) {
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func (s *vlanIPAM) free(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, s.assigned[id].Addr())
	delete(s.assigned, id)
}

func (s *vlanIPAM) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	// Free after the rest: nobody else gets an address that is still in use.
	defer s.free(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}
