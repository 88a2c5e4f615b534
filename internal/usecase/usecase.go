// SPDX-License-Identifier: Apache-2.0

// Package usecase is the table of use cases: who is linked to whom, over what.
// The demo shows them, the tests run them, and the README lists them.
//
// Names, services, prefixes and requests are those of NSM's own examples
// (deployments-k8s: use-cases, features/ipv6), where there is one; the others
// follow the same pattern.
package usecase

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Case is a client and what it is linked to.
type Case struct {
	// Name as in NSM's examples, such as Kernel2Ethernet2Memif.
	Name string
	// Client is how the client is attached: KindKernel or KindMemif.
	Client plane.Kind
	// Endpoint is how the endpoint is: KindKernel, KindMemif, or KindVLAN if the
	// service is a VLAN of the underlay with hosts that know nothing of NSM.
	Endpoint plane.Kind
	// Payload of the network service.
	Payload plane.Payload
	// Tunnel carries the packets between the nodes: KindVXLAN, KindWireGuard or
	// KindVLAN. It is empty if client and endpoint are on the same node.
	Tunnel plane.Kind
	// Service is the name of the network service.
	Service string
	// CIDR that the endpoint takes the connection's addresses from.
	CIDR netip.Prefix
	// VLAN is the id of the service's VLAN, or 0.
	VLAN uint16
}

// Interface is what a client calls its end of a connection.
const Interface = "nsm-1"

// Request is what the client asks for, as in NSM_NETWORK_SERVICES.
func (c *Case) Request() string {
	return strings.ToLower(string(c.Client)) + "://" + c.Service + "/" + Interface
}

// Local says that client and endpoint are on the same node.
func (c *Case) Local() bool { return c.Tunnel == "" }

// IPv6 says that the connection's addresses are IPv6.
func (c *Case) IPv6() bool { return c.CIDR.Addr().Is6() }

// Memif says that one of the two is attached by memif.
func (c *Case) Memif() bool { return c.Client == plane.KindMemif || c.Endpoint == plane.KindMemif }

// Direct says that client and endpoint share memory, and nothing is between them.
func (c *Case) Direct() bool {
	return c.Local() && c.Client == plane.KindMemif && c.Endpoint == plane.KindMemif
}

// EndpointAddr is the address that the client reaches. On a VLAN it is a host's.
func (c *Case) EndpointAddr() netip.Addr {
	if c.VLAN != 0 {
		return vlanHost
	}
	return c.CIDR.Addr()
}

// ClientAddr is the address that the client gets.
func (c *Case) ClientAddr() netip.Addr {
	return c.CIDR.Addr().Next()
}

// Carries says in one or two words what moves the packets: payload and tunnel.
func (c *Case) Carries() string {
	if c.Local() {
		return fmt.Sprintf("%s, local", c.Payload)
	}
	return fmt.Sprintf("%s, %s", c.Payload, tunnelNames[c.Tunnel])
}

// tunnelNames are what people call the tunnels.
var tunnelNames = map[plane.Kind]string{
	plane.KindVXLAN: "VXLAN", plane.KindWireGuard: "WireGuard", plane.KindVLAN: "VLAN tag",
}

var (
	cidr4    = netip.MustParsePrefix("172.16.1.100/31")
	cidr6    = netip.MustParsePrefix("2001:db8::/116")
	vlanNet  = netip.MustParsePrefix("172.10.0.0/24")
	vlanHost = netip.MustParseAddr("172.10.0.254")
)

// Table is all use cases: those over two nodes first, then those on one.
var Table = table()

// Find returns the use case with the name, whose case does not matter.
func Find(name string) (*Case, error) {
	for i := range Table {
		if strings.EqualFold(Table[i].Name, name) {
			return &Table[i], nil
		}
	}
	return nil, fmt.Errorf("no use case is called %q; forwarder demo --list shows all", name)
}

// FindAll is Find for several names.
func FindAll(names []string) ([]Case, error) {
	found := make([]Case, len(names))
	for i, name := range names {
		c, err := Find(name)
		if err != nil {
			return nil, err
		}
		found[i] = *c
	}
	return found, nil
}

func table() []Case {
	const kernel, memif = plane.KindKernel, plane.KindMemif
	pairs := [][2]plane.Kind{{kernel, kernel}, {kernel, memif}, {memif, kernel}, {memif, memif}}
	var all []Case
	add := func(c Case, suffix string) {
		c.Name += suffix
		if c.Service == "" {
			c.Service = strings.ReplaceAll(strings.ToLower(c.Name), "_", "-")
		}
		all = append(all, c)
	}
	for _, p := range pairs {
		add(Case{
			Name: names[p[0]] + "2Ethernet2" + names[p[1]], Client: p[0], Endpoint: p[1],
			Payload: plane.Ethernet, Tunnel: plane.KindVXLAN, CIDR: cidr4,
		}, "")
	}
	for _, cidr := range []netip.Prefix{cidr4, cidr6} {
		for _, p := range pairs {
			add(Case{
				Name: names[p[0]] + "2IP2" + names[p[1]], Client: p[0], Endpoint: p[1],
				Payload: plane.IP, Tunnel: plane.KindWireGuard, CIDR: cidr,
			}, family(cidr))
		}
	}
	add(Case{
		Name: "Kernel2RVlan", Client: kernel, Endpoint: plane.KindVLAN, Payload: plane.Ethernet,
		Tunnel: plane.KindVLAN, CIDR: vlanNet, VLAN: 1000, Service: "kernel2rvlan-breakout",
	}, "")
	add(Case{
		Name: "Memif2RVlan", Client: memif, Endpoint: plane.KindVLAN, Payload: plane.Ethernet,
		Tunnel: plane.KindVLAN, CIDR: vlanNet, VLAN: 1001, Service: "memif2rvlan-breakout",
	}, "")
	// The stock local examples have payload ETHERNET; those with IP are marked.
	for _, payload := range []plane.Payload{plane.Ethernet, plane.IP} {
		mark := ""
		if payload == plane.IP {
			mark = "_ip"
		}
		for _, cidr := range []netip.Prefix{cidr4, cidr6} {
			for _, p := range pairs {
				add(Case{
					Name: names[p[0]] + "2" + names[p[1]], Client: p[0], Endpoint: p[1], Payload: payload, CIDR: cidr,
				}, mark+family(cidr))
			}
		}
	}
	return all
}

var names = map[plane.Kind]string{plane.KindKernel: "Kernel", plane.KindMemif: "Memif"}

// family is the end of a name.
func family(cidr netip.Prefix) string {
	if cidr.Addr().Is6() {
		return "_ipv6"
	}
	return ""
}
