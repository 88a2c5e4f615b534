// SPDX-License-Identifier: Apache-2.0

package podnet

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Linux gives an IPv6 address its local route from a work queue, some time after
// it has confirmed the address. A packet that comes before that is one to
// forward, and dropped.
const (
	readyTimeout = time.Second
	readyPoll    = time.Millisecond
)

// awaitReady waits until packets to the IPv6 addresses are taken in. In a network
// namespace with routing of its own, such as a VRF's, there may be no telling:
// after a while it waits no longer.
func (p *pod) awaitReady(addrs []netip.Prefix) {
	deadline := time.Now().Add(readyTimeout)
	for _, a := range addrs {
		for a.Addr().Is6() && !p.isLocal(a.Addr()) && time.Now().Before(deadline) {
			time.Sleep(readyPoll)
		}
	}
}

func (p *pod) isLocal(a netip.Addr) bool {
	routes, err := p.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}
