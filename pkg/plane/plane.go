// SPDX-License-Identifier: Apache-2.0

// Package plane is the contract between the control side of the forwarder,
// which negotiates connections, and the planes, which move their packets.
//
// A connection is two ports joined. Ports are plain values: whoever negotiated
// a mechanism describes its end as a Port, and a plane that is given both ends
// makes the interfaces, sockets and tunnels that they stand for.
package plane

import (
	"context"
	"errors"
)

// Payload is what a connection carries, in the words of NSM's NetworkService.
type Payload string

// The two payloads of NSM.
const (
	// Ethernet connections carry whole Ethernet frames.
	Ethernet Payload = "ETHERNET"
	// IP connections carry IPv4 and IPv6 packets without a link-layer header.
	IP Payload = "IP"
)

// ErrUnsupported is wrapped by Join when the plane cannot make one of the
// ports, or cannot join the two that it was given. Another mechanism may work.
var ErrUnsupported = errors.New("not supported by this forwarding plane")

// Connection is two ports to be joined.
type Connection struct {
	// ID names the connection at this forwarder: the id of its path segment.
	ID string
	// Payload decides whether kernel ports are TAP-like or TUN-like.
	Payload Payload
	// MTU of the connection in bytes, without link-layer header; at least 576
	// (1280 if it is to carry IPv6). Zero means DefaultMTU.
	MTU int
	// Client and Endpoint are the ends: the one the request came from, and the
	// one it went to.
	Client, Endpoint Port
}

// DefaultMTU is the MTU of a connection that crosses no tunnel and was asked
// for with none, as in the stock forwarder.
const DefaultMTU = 9000

// Plane joins pairs of ports. All methods are safe for concurrent use.
type Plane interface {
	// Kinds lists the kinds of port that the plane can make for a payload, best
	// first. It does not change while the plane lives.
	Kinds(payload Payload) []Kind

	// Join makes both ports and lets packets flow between them. It is
	// idempotent by Connection.ID: the same ports again are a no-op, other
	// ports replace the link without touching other connections. When it
	// fails, whatever it had made is undone.
	Join(ctx context.Context, c *Connection) (Link, error)

	// Leave undoes Join. Leaving a connection that is not joined is no error.
	Leave(ctx context.Context, id string) error

	// Links lists the joined connections, ordered by id.
	Links() []Link

	// Close leaves all connections and stops the plane.
	Close() error
}

// Link is a joined connection.
type Link struct {
	ID      string  `json:"id"`
	Payload Payload `json:"payload"`
	MTU     int     `json:"mtu"`
	// Path says in a few words what moves the packets: "veth", "embedded",
	// "kernel VXLAN". For "direct memif" it is the pods themselves, and the
	// counters stay zero.
	Path     string     `json:"path"`
	Client   PortStatus `json:"client"`
	Endpoint PortStatus `json:"endpoint"`
}

// PortStatus is one end of a Link.
type PortStatus struct {
	Port     Port     `json:"port"`
	Counters Counters `json:"counters"`
}

// Counters are a port's packets and bytes as the peer behind the port would
// count them at its own end turned round: Rx is what came in from the peer, Tx
// what was sent to it. Bytes are those of the payload (a frame or an IP
// packet), without tunnel headers. Counters never decrease while a link lives.
type Counters struct {
	RxPackets uint64 `json:"rxPackets"`
	RxBytes   uint64 `json:"rxBytes"`
	TxPackets uint64 `json:"txPackets"`
	TxBytes   uint64 `json:"txBytes"`
	// Drops are packets that came in from the peer and went no further, and
	// those that could not be sent to it.
	Drops uint64 `json:"drops"`
}
