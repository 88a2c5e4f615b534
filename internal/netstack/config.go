// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// ErrInvalid is wrapped by errors about a configuration that no interface can have.
var ErrInvalid = errors.New("invalid network configuration")

// maxMTU is what an IP packet can be.
const maxMTU = 1<<16 - 1

// Configure gives the interface exactly the configuration c, as podnet.Apply does for
// one of the kernel; policies are left out, as a Stack has a single route to
// anywhere. Addresses that stay keep their TCP connections. An error wraps ErrInvalid
// and leaves everything as it was.
func (s *Stack) Configure(c podnet.Config) error {
	routes, err := plan(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(s.config, c) {
		return nil
	}
	mtu := uint32(DefaultMTU)
	if c.MTU > 0 {
		mtu = uint32(c.MTU)
	}
	s.link.SetMTU(mtu)
	if err := s.setAddresses(s.config.Addresses, c.Addresses); err != nil {
		return err
	}
	s.ip.SetRouteTable(routes)
	s.prefix = newPrefixes(routes)
	s.config = c
	s.resetNeighbours()
	return nil
}

// plan checks the configuration and makes the route table.
func plan(c podnet.Config) ([]tcpip.Route, error) {
	if c.MTU < 0 || c.MTU > maxMTU {
		return nil, fmt.Errorf("%w: MTU %d", ErrInvalid, c.MTU)
	}
	for _, address := range c.Addresses {
		if a := address.Addr(); !address.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
			return nil, fmt.Errorf("%w: address %s", ErrInvalid, address)
		}
		if address.Addr().Is6() && c.MTU > 0 && c.MTU < header.IPv6MinimumMTU {
			return nil, fmt.Errorf("%w: MTU %d is too small for IPv6, which needs %d", ErrInvalid, c.MTU, header.IPv6MinimumMTU)
		}
	}
	for _, n := range c.Neighbours {
		if !n.Addr.IsValid() || len(n.HardwareAddr) != header.EthernetAddressSize {
			return nil, fmt.Errorf("%w: neighbour %s at %s", ErrInvalid, n.Addr, n.HardwareAddr)
		}
	}
	var table []tcpip.Route
	add := func(prefix netip.Prefix, via netip.Addr) {
		route := tcpip.Route{Destination: subnet(prefix), NIC: nicID}
		if via.IsValid() {
			route.Gateway = address(via)
		}
		table = append(table, route)
	}
	for _, own := range c.Addresses {
		add(own.Masked(), netip.Addr{})
	}
	for _, peer := range c.Peers {
		if !peer.IsValid() {
			return nil, fmt.Errorf("%w: peer address %s", ErrInvalid, peer)
		}
		add(netip.PrefixFrom(peer.Addr(), peer.Addr().BitLen()), netip.Addr{})
	}
	for _, route := range c.Routes {
		if !route.Prefix.IsValid() || route.Via.IsValid() && route.Via.Is4() != route.Prefix.Addr().Is4() {
			return nil, fmt.Errorf("%w: route to %s by %s", ErrInvalid, route.Prefix, route.Via)
		}
		via := route.Via
		if !via.IsValid() {
			via = hop(c.Peers, route.Prefix)
		}
		add(route.Prefix.Masked(), via)
	}
	// The longest prefix first, and of equal ones that without a gateway.
	slices.SortStableFunc(table, func(a, b tcpip.Route) int {
		return cmp.Or(b.Destination.Prefix()-a.Destination.Prefix(), a.Gateway.Len()-b.Gateway.Len())
	})
	return table, nil
}

// hop is the next hop of a route that names none: the first peer of the family, unless
// the destination lies in the network of a peer.
func hop(peers []netip.Prefix, to netip.Prefix) (via netip.Addr) {
	for _, peer := range peers {
		if peer.Addr().Is4() != to.Addr().Is4() {
			continue
		}
		if peer.Bits() <= to.Bits() && peer.Masked().Contains(to.Addr()) {
			return netip.Addr{}
		}
		if !via.IsValid() {
			via = peer.Addr()
		}
	}
	return via
}

func (s *Stack) setAddresses(before, after []netip.Prefix) error {
	for _, old := range before {
		if !slices.Contains(after, old) {
			// It may be gone with an earlier Configure that failed.
			_ = s.ip.RemoveAddress(nicID, address(old.Addr()))
		}
	}
	for _, own := range after {
		if slices.Contains(before, own) {
			continue
		}
		err := s.ip.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
			Protocol:          protocol(own.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(own.Addr()), PrefixLen: own.Bits()},
		}, stack.AddressProperties{})
		if _, have := err.(*tcpip.ErrDuplicateAddress); err != nil && !have {
			return fmt.Errorf("netstack: add address %s: %v", own, err)
		}
	}
	return nil
}

// forgetNeighbours is for a new peer of the memif: behind it may be somebody else with
// the same addresses.
func (s *Stack) forgetNeighbours() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resetNeighbours()
}

// resetNeighbours leaves no neighbours but the configured ones.
func (s *Stack) resetNeighbours() {
	if s.link.mode == memif.IP {
		return
	}
	for _, p := range []tcpip.NetworkProtocolNumber{header.IPv4ProtocolNumber, header.IPv6ProtocolNumber} {
		_ = s.ip.ClearNeighbors(nicID, p)
	}
	for _, n := range s.config.Neighbours {
		_ = s.ip.AddStaticNeighbor(nicID, protocol(n.Addr), address(n.Addr), tcpip.LinkAddress(n.HardwareAddr))
	}
}

func address(a netip.Addr) tcpip.Address {
	return tcpip.AddrFromSlice(a.Unmap().AsSlice())
}

func protocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Unmap().Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func subnet(p netip.Prefix) tcpip.Subnet {
	return tcpip.AddressWithPrefix{Address: address(p.Masked().Addr()), PrefixLen: p.Bits()}.Subnet()
}
