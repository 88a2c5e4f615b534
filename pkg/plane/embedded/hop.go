// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"net/netip"

	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// Uplink is what the plane needs to know about the way to other nodes.
type Uplink interface {
	Name() string
	// MTU of the uplink in bytes, without Ethernet header.
	MTU() int
	// NextHop begins to resolve the next hop to a tunnel's remote end.
	NextHop(remote netip.Addr) (NextHop, error)
}

// NextHop is kept fresh by the Uplink until it is released. Its methods are
// called once per burst and do not block.
type NextHop interface {
	// Load returns what is known, never nil. It does not change; when something
	// changes, Load returns another one.
	Load() *Hop
	// Suspect says that a packet of the remote came from another MAC address.
	Suspect(source [6]byte)
	Release()
}

// Hop is how to reach a remote address at the moment.
type Hop = uplink.Hop
