// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// path is a way from a client pod to a server pod, whoever provides it.
type path struct {
	// setup says in words what stands between the pods.
	setup          string
	client, server end
	// pids are the processes that carry the packets, if any do.
	pids []int
}

// end is a pod's end of a path.
type end struct {
	// ns is the path of the pod's network namespace.
	ns   string
	addr netip.Addr

	link  string
	index int
	mac   net.HardwareAddr // nil where the link carries IP packets
}

// newEnd looks the interface up that has the address.
func newEnd(ns, addr string) (end, error) {
	e := end{ns: ns, addr: netip.MustParseAddr(addr)}
	err := netns.Do(ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				return err
			}
			for _, a := range addrs {
				if a.IP.Equal(e.addr.AsSlice()) {
					e.link, e.index, e.mac = l.Attrs().Name, l.Attrs().Index, l.Attrs().HardwareAddr
					return nil
				}
			}
		}
		return fmt.Errorf("no interface has %s", addr)
	})
	if err != nil {
		return e, fmt.Errorf("look into %s: %w", ns, err)
	}
	return e, nil
}

// newPath is the path between two addresses in two namespaces.
func newPath(setup, clientNS, client, serverNS, server string, pids ...int) (*path, error) {
	p := &path{setup: setup, pids: pids}
	var err error
	if p.client, err = newEnd(clientNS, client); err != nil {
		return nil, err
	}
	p.server, err = newEnd(serverNS, server)
	return p, err
}
