// SPDX-License-Identifier: Apache-2.0

// Package podnet configures a network interface inside a pod: its MTU,
// addresses, neighbours, routes and policy routes, by netlink in the pod's
// network namespace.
//
// Whatever it adds to the kernel's tables carries the protocol number
// [Protocol], so that a later process finds it again and leaves the rest of the
// pod's network alone: a route of ours shadows one of the pod to the same
// destination and never replaces it.
package podnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Protocol marks our routes and rules (rtm_protocol, FRA_PROTOCOL).
const Protocol = 78

// ErrInvalid is wrapped by errors about a Config that no interface can have.
var ErrInvalid = errors.New("invalid network configuration")

// ErrNoInterface is wrapped by Apply when the namespace has no interface of
// that name.
var ErrNoInterface = errors.New("no such interface")

// Config is what the interface is to have. The zero Config brings it up and
// removes what an earlier Apply gave it.
type Config struct {
	// MTU in bytes without link-layer header; 0 leaves it as it is.
	MTU int
	// Addresses of the interface, each with the length of its network. Other
	// permanent global addresses are removed.
	Addresses []netip.Prefix
	// Peers are the addresses of the other end. Each that lies outside our own
	// networks gets a host route with link scope.
	Peers []netip.Prefix
	// Routes through the interface.
	Routes []Route
	// Policies choose packets that take other routes, first match first.
	Policies []Policy
	// Neighbours are permanent entries. On an interface without hardware
	// addresses (TUN) they are left out.
	Neighbours []Neighbour
	// Ping lets every group of the pod open ICMP sockets (ping_group_range).
	Ping bool
	// RouteLocalnet lets the interface route 127.0.0.0/8, for address
	// translation to services on the pod's loopback.
	RouteLocalnet bool
}

// Route sends packets for a destination through the interface.
type Route struct {
	Prefix netip.Prefix
	// Via is the next hop; it need not be in a network of the interface. The
	// zero Addr is the first peer of the family, or no next hop at all if the
	// prefix lies in a peer's network or there is no such peer.
	Via netip.Addr
}

// Policy is a rule with a routing table of its own.
type Policy struct {
	// From is the source network, the zero Prefix any.
	From netip.Prefix
	// Protocol is the IP protocol number, 0 any.
	Protocol uint8
	// SrcPort and DstPort are ranges, the zero PortRange any.
	SrcPort, DstPort PortRange
	// Routes make up the table. A packet that none of them matches goes on to
	// the next policy, so a policy without routes installs nothing.
	Routes []Route
}

// PortRange is First to Last, both included.
type PortRange struct{ First, Last uint16 }

// Neighbour is the hardware address of an IP address.
type Neighbour struct {
	Addr         netip.Addr
	HardwareAddr net.HardwareAddr
}

// Apply gives the interface exactly the configuration c. It is idempotent, also
// across processes. When it fails, everything that it changed is put back.
//
// Errors wrap [ErrInvalid], [ErrNoInterface], the errors of package netns, or
// the kernel's errno.
func Apply(nsPath, ifName string, c Config) error {
	if err := checkName(ifName); err != nil {
		return err
	}
	want, err := planOf(c)
	if err != nil {
		return fmt.Errorf("configure interface %s: %w", ifName, err)
	}
	return inPod(nsPath, ifName, func(p *pod) error {
		p.policies = len(want.policies) > 0
		before, err := p.observe()
		if err != nil {
			return err
		}
		if err := p.converge(before, want); err != nil {
			if undo := p.restore(before); undo != nil {
				err = fmt.Errorf("%w (and putting back what was there failed: %w)", err, undo)
			}
			return fmt.Errorf("configure interface %s: %w", ifName, err)
		}
		p.awaitReady(want.addrs)
		return nil
	})
}

// Remove takes the addresses, routes, policies and neighbours from the
// interface that Apply gave it. A namespace or an interface that is gone is no
// error; rules that pointed to the interface are removed even then.
func Remove(nsPath, ifName string) error {
	if err := checkName(ifName); err != nil {
		return err
	}
	err := inPod(nsPath, ifName, func(p *pod) error {
		now, err := p.observe()
		if err != nil {
			return err
		}
		return p.strip(now)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, ErrNoInterface):
		return inPod(nsPath, "", func(p *pod) error { return p.dropOrphans() })
	case err != nil:
		return fmt.Errorf("clear interface %s: %w", ifName, err)
	}
	return nil
}

// pod is the inside of a network namespace, seen from one locked thread in it.
type pod struct {
	*netlink.Handle
	link netlink.Link
	name string
	ipv6 bool
	// policies says that the interface is to have some.
	policies bool
}

// inPod runs f in the namespace, one at a time per namespace: f chooses table
// numbers. An empty name stands for no interface.
func inPod(nsPath, ifName string, f func(*pod) error) error {
	unlock, err := lockNamespace(nsPath)
	if err != nil {
		return err
	}
	defer unlock()
	return netns.Do(nsPath, func() error {
		h, err := netlink.NewHandle(routeFamily)
		if err != nil {
			return fmt.Errorf("open rtnetlink socket in %s: %w", nsPath, err)
		}
		defer h.Close()
		p := &pod{Handle: h, name: ifName, ipv6: hasIPv6()}
		if ifName == "" {
			return f(p)
		}
		p.link, err = h.LinkByName(ifName)
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return fmt.Errorf("find interface %s in %s: %w", ifName, nsPath, ErrNoInterface)
		}
		if err != nil {
			return fmt.Errorf("find interface %s in %s: %w", ifName, nsPath, err)
		}
		return f(p)
	})
}
