// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// place is where the tunnels leave.
type place struct {
	link   netlink.Link // has the tunnel address
	device netlink.Link // carries the frames, with tags
	tags   []uint16
	addr   netip.Addr
}

// find chooses the uplink, in the namespace of h.
func find(h *netlink.Handle, tunnel netip.Addr) (place, error) {
	var p place
	var err error
	if tunnel.IsValid() {
		p, err = byAddress(h, tunnel)
	} else {
		p, err = byDefaultRoute(h)
	}
	if err != nil {
		return place{}, err
	}
	attrs := p.link.Attrs()
	switch {
	case attrs.Flags&net.FlagLoopback != 0:
		return place{}, fmt.Errorf("%s is on the loopback interface: set NSM_TUNNEL_IP to an address that other nodes reach", p.addr)
	case len(attrs.HardwareAddr) != 6 || attrs.EncapType != "ether":
		return place{}, fmt.Errorf("%s (%s, %s) has no Ethernet framing: set NSM_TUNNEL_IP to an address of another interface",
			attrs.Name, p.link.Type(), attrs.EncapType)
	case attrs.RawFlags&unix.IFF_UP == 0:
		return place{}, fmt.Errorf("%s is down: bring it up (ip link set %s up)", attrs.Name, attrs.Name)
	case !carrier(h, p.link):
		return place{}, fmt.Errorf("%s has no carrier (%s): connect it", attrs.Name, attrs.OperState)
	}
	p.device, p.tags, err = deviceOf(p.link, h.LinkByIndex)
	return p, err
}

// carrierDelay is more than kernels take to tell of a carrier: many look at such
// changes once a second (net/core/link_watch.c).
const carrierDelay = 1500 * time.Millisecond

// carrier tells whether a link that is up has a carrier, and waits for the news of
// one that may have come just before.
func carrier(h *netlink.Handle, l netlink.Link) bool {
	index := l.Attrs().Index
	for end := time.Now().Add(carrierDelay); l.Attrs().RawFlags&unix.IFF_RUNNING == 0; {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
		var err error
		if l, err = h.LinkByIndex(index); err != nil {
			return false
		}
	}
	return true
}

func byAddress(h *netlink.Handle, tunnel netip.Addr) (place, error) {
	if !tunnel.IsGlobalUnicast() && !tunnel.IsLoopback() || tunnel.Is4In6() || tunnel.Zone() != "" {
		return place{}, fmt.Errorf("%s cannot be a tunnel address: it must be a global unicast one", tunnel)
	}
	addrs, err := complete(func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return place{}, fmt.Errorf("list addresses: %w", err)
	}
	var others []string
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if ip != tunnel {
			if ip.IsGlobalUnicast() {
				others = append(others, ip.String())
			}
			continue
		}
		link, err := h.LinkByIndex(a.LinkIndex)
		if err != nil {
			return place{}, fmt.Errorf("read the interface that has %s: %w", tunnel, err)
		}
		return place{link: link, addr: tunnel}, nil
	}
	return place{}, fmt.Errorf("no interface has the tunnel address %s: set NSM_TUNNEL_IP to an address of this node (%s), or to none for the default route",
		tunnel, strings.Join(others, ", "))
}

// byDefaultRoute takes the best default route whose link has an address that
// tunnels can use.
func byDefaultRoute(h *netlink.Handle) (place, error) {
	var seen []string
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := complete(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return place{}, fmt.Errorf("list routes: %w", err)
		}
		routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
		slices.SortStableFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
		for _, r := range routes {
			index := r.LinkIndex
			if len(r.MultiPath) > 0 {
				index = r.MultiPath[0].LinkIndex
			}
			link, err := h.LinkByIndex(index)
			if err != nil {
				continue // a route without a link: unreachable, blackhole
			}
			addr, err := firstGlobal(h, link, family)
			if err != nil {
				return place{}, err
			}
			if addr.IsValid() {
				return place{link: link, addr: addr}, nil
			}
			seen = append(seen, link.Attrs().Name)
		}
	}
	if len(seen) > 0 {
		return place{}, fmt.Errorf("the default route leads over %s, which has no global unicast address: give it one or set NSM_TUNNEL_IP",
			strings.Join(seen, ", "))
	}
	return place{}, errors.New("there is no default route, neither for IPv4 nor for IPv6: set NSM_TUNNEL_IP to an address of the interface to use")
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && r.Dst.IP.IsUnspecified()
}

func firstGlobal(h *netlink.Handle, link netlink.Link, family int) (netip.Addr, error) {
	addrs, err := complete(func() ([]netlink.Addr, error) { return h.AddrList(link, family) })
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	// Peers are to find us there for as long as we live, so no address that
	// may go (RFC 8981) or is not ours yet.
	const unfit = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		temporary := family == unix.AF_INET6 && a.Flags&unix.IFA_F_TEMPORARY != 0
		if ip = ip.Unmap(); ip.IsGlobalUnicast() && a.Flags&unfit == 0 && !temporary {
			return ip, nil
		}
	}
	return netip.Addr{}, nil
}

// deviceOf follows VLAN interfaces down to the device below them.
func deviceOf(link netlink.Link, byIndex func(int) (netlink.Link, error)) (netlink.Link, []uint16, error) {
	const maxTags = 2 // what the classifier looks through
	var tags []uint16
	for {
		vlan, ok := link.(*netlink.Vlan)
		if !ok {
			return link, tags, nil
		}
		if vlan.NetNsID >= 0 {
			return nil, nil, fmt.Errorf("the device below VLAN interface %s is in another network namespace: run the forwarder where it is", vlan.Name)
		}
		tags = slices.Insert(tags, 0, uint16(vlan.VlanId))
		if len(tags) > maxTags {
			return nil, nil, fmt.Errorf("VLAN interface %s: more than %d tags are not supported", vlan.Name, maxTags)
		}
		parent, err := byIndex(vlan.ParentIndex)
		if err != nil {
			return nil, nil, fmt.Errorf("read the device below VLAN interface %s: %w", vlan.Name, err)
		}
		link = parent
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

// Location is where Open would find the uplink.
type Location struct {
	// Link has the tunnel address Addr; Device carries the frames, with VLAN as
	// their tags. Kind is the type of the device as ip-link(8) calls it, "device"
	// for a real one.
	Link, Device, Kind string
	Addr               netip.Addr
	VLAN               []uint16
	// Index of the device, MTU of the link, and receive Queues of the device.
	Index, MTU, Queues int
}

// Locate finds the uplink without following it. It needs no privilege.
func Locate(c Config) (Location, error) {
	var l Location
	err := netns.Do(c.NetNS, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open rtnetlink socket: %w", err)
		}
		defer h.Close()
		p, err := find(h, c.Tunnel)
		if err != nil {
			return err
		}
		l = Location{
			Link: p.link.Attrs().Name, Device: p.device.Attrs().Name, Kind: p.device.Type(), Addr: p.addr, VLAN: p.tags,
			Index: p.device.Attrs().Index, MTU: p.link.Attrs().MTU, Queues: countQueues(p.device),
		}
		return nil
	})
	if err != nil {
		return Location{}, fmt.Errorf("find uplink: %w", err)
	}
	return l, nil
}
