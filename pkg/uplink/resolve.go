// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbour is a host on the uplink's link that at least one next hop leads
// to. The uplink's mu guards it.
type neighbour struct {
	addr  netip.Addr
	users map[*entry]struct{}
	state int // NUD_*
	mac   [6]byte
	// failures are how often it was called failed since it was last known.
	failures int
	// confirmed is when the kernel last heard that the neighbour is there.
	confirmed time.Time

	inquiry inquiry
}

// giveUp is how many failures show that a neighbour is silent: the first may be
// the end of the kernel's interest, but after that we have asked ourselves.
const giveUp = 2

// known tells whether the kernel itself would send to the neighbour.
func (n *neighbour) known() bool {
	const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	return n.state&valid != 0 && n.mac != [6]byte{}
}

// usable tells whether we send to the neighbour. The kernel may drop an entry
// at any time, if it needs the room or is told to, and calls it failed for a
// moment; until the neighbour proves silent its last address is good enough.
func (n *neighbour) usable() bool { return n.mac != [6]byte{} }

// fixed neighbours were set by hand and are not asked for.
func (n *neighbour) fixed() bool { return n.state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 }

func (n *neighbour) hardware() string { return net.HardwareAddr(n.mac[:]).String() }

// resolve asks for the route of an entry and joins it to its neighbour.
func (u *Uplink) resolve(e *entry) {
	via, mtu, err := u.route(e.remote)
	e.routeMTU, e.noRoute = mtu, ""
	if err != nil {
		e.noRoute = err.Error()
		u.leave(e)
	} else if e.via == nil || e.via.addr != via {
		u.leave(e)
		u.join(e, via)
	}
	u.publish(e)
}

func (u *Uplink) leave(e *entry) {
	if n := e.via; n != nil {
		delete(n.users, e)
		if len(n.users) == 0 {
			delete(u.neighbours, n.addr)
		}
		e.via = nil
	}
}

func (u *Uplink) join(e *entry, via netip.Addr) {
	n := u.neighbours[via]
	if n == nil {
		n = &neighbour{addr: via, users: map[*entry]struct{}{}}
		u.neighbours[via] = n
		u.readNeighbours(familyOf(via))
		if !n.known() {
			u.ask(n)
		}
	}
	n.users[e] = struct{}{}
	e.via = n
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// route asks the kernel for the way to a remote over the uplink, and returns
// the neighbour and the path MTU if the route has one.
func (u *Uplink) route(remote netip.Addr) (via netip.Addr, mtu int, err error) {
	dst, index := remote.AsSlice(), u.place.link.Attrs().Index
	r, err := u.ask1(dst, netlink.RouteGetOptions{SrcAddr: u.addr.AsSlice()})
	if err == nil && r.LinkIndex != index && r.Type == unix.RTN_UNICAST {
		// The node would use another link. Asked for one, the kernel takes every
		// address for on-link if there is no route over it; only the table itself
		// tells.
		if _, err := u.ask1(dst, netlink.RouteGetOptions{SrcAddr: u.addr.AsSlice(), OifIndex: index, FIBMatch: true}); err != nil {
			return netip.Addr{}, 0, fmt.Errorf("no route over %s", u.LinkName())
		}
		r, err = u.ask1(dst, netlink.RouteGetOptions{SrcAddr: u.addr.AsSlice(), OifIndex: index})
	}
	switch {
	case err != nil:
		return netip.Addr{}, 0, fmt.Errorf("no route (%w)", err)
	case r.Type == unix.RTN_LOCAL:
		return netip.Addr{}, 0, errors.New("the address is one of this node")
	case r.Type != unix.RTN_UNICAST || r.LinkIndex != index:
		return netip.Addr{}, 0, fmt.Errorf("no route over %s", u.LinkName())
	}
	via = remote
	gw := r.Gw
	if v, ok := r.Via.(*netlink.Via); ok { // an IPv4 route by an IPv6 router, RFC 5549
		gw = v.Addr
	}
	if a, ok := netip.AddrFromSlice(gw); ok && !gw.IsUnspecified() {
		via = a.Unmap()
	}
	return via, r.MTU, nil
}

func (u *Uplink) ask1(dst net.IP, options netlink.RouteGetOptions) (netlink.Route, error) {
	routes, err := u.requests.RouteGetWithOptions(dst, &options)
	if err != nil {
		return netlink.Route{}, err
	}
	if len(routes) == 0 {
		return netlink.Route{}, unix.ENETUNREACH
	}
	return routes[0], nil
}

// readNeighbours brings the neighbours of a family up to date. Those that the
// kernel does not list are unknown to it.
func (u *Uplink) readNeighbours(family int) {
	list, err := complete(func() ([]netlink.Neigh, error) {
		return u.requests.NeighList(u.place.link.Attrs().Index, family)
	})
	if err != nil {
		u.log("list neighbours of %s: %v", u.LinkName(), err)
		return
	}
	seen := make(map[*neighbour]bool, len(u.neighbours))
	for i := range list {
		if n := u.update(&list[i], false); n != nil {
			seen[n] = true
		}
	}
	for _, n := range u.neighbours {
		if familyOf(n.addr) == family && !seen[n] {
			n.set(unix.NUD_NONE, nil)
			u.publishAll(n)
		}
	}
}

// update takes over what the kernel says of a neighbour, and returns the
// neighbour if a next hop leads to it.
func (u *Uplink) update(k *netlink.Neigh, deleted bool) *neighbour {
	addr, ok := netip.AddrFromSlice(k.IP)
	if !ok || k.LinkIndex != u.place.link.Attrs().Index {
		return nil
	}
	n := u.neighbours[addr.Unmap()]
	if n == nil {
		return nil
	}
	if deleted {
		n.set(unix.NUD_NONE, nil)
	} else {
		n.set(k.State, k.HardwareAddr)
		// The kernel counts in hundredths of a second (USER_HZ).
		n.confirmed = time.Now().Add(-time.Duration(k.Confirmed) * 10 * time.Millisecond)
	}
	u.publishAll(n)
	return n
}

func (n *neighbour) set(state int, mac net.HardwareAddr) {
	old := n.mac
	failed := state&unix.NUD_FAILED != 0
	if failed && n.state&unix.NUD_FAILED == 0 {
		n.failures++
	}
	n.state = state
	switch {
	case failed && n.failures >= giveUp:
		n.mac = [6]byte{}
	case failed:
	case len(mac) == 6 && state&unix.NUD_INCOMPLETE == 0:
		n.mac = [6]byte(mac)
		n.failures = 0
	}
	if n.mac != old {
		n.inquiry = inquiry{}
	}
}

func (u *Uplink) publishAll(n *neighbour) {
	for e := range n.users {
		u.publish(e)
	}
}
