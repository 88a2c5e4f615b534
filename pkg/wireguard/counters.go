// SPDX-License-Identifier: Apache-2.0

package wireguard

import "sync/atomic"

// Reason says why a datagram went no further than the hub.
type Reason uint8

// The reasons.
const (
	noDrop Reason = iota
	// DropShort: too short for WireGuard, or for the message it says it is.
	DropShort
	// DropOversized: longer than the message it says it is, or than any.
	DropOversized
	// DropUnknownType: the first four bytes are no WireGuard message type.
	DropUnknownType
	// DropUnknownIndex: a response, cookie or transport message for a session
	// that no tunnel has. A peer that still uses a closed tunnel sends these.
	DropUnknownIndex
	// DropUnknownKey: an initiation for a public key that no tunnel has.
	DropUnknownKey
	// DropFlood: an initiation that was not looked at, because so many came
	// that finding their tunnels would take too much time.
	DropFlood
	// DropCrossing: an initiation that met ours on the way; the handshake goes
	// on with ours.
	DropCrossing
	// DropQueueFull: the tunnel did not keep up.
	DropQueueFull
	// DropClosed: the tunnel was being closed.
	DropClosed

	reasons
)

var reasonNames = [reasons]string{
	DropShort:        "short",
	DropOversized:    "oversized",
	DropUnknownType:  "unknown_type",
	DropUnknownIndex: "unknown_index",
	DropUnknownKey:   "unknown_key",
	DropFlood:        "initiation_flood",
	DropCrossing:     "crossing_initiation",
	DropQueueFull:    "queue_full",
	DropClosed:       "closed",
}

// String is the reason as metrics name it: lower case, words joined by '_'.
func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return reasonNames[r]
}

// Counters are what a hub has received since it was made, in datagrams.
type Counters struct {
	// Delivered to a tunnel. What the tunnel then could not authenticate, or
	// had seen before, is among them: wireguard-go keeps no count of it.
	Delivered uint64
	// Dropped by reason.
	Dropped map[Reason]uint64
}

// counters counts by reason; noDrop stands for what was delivered.
type counters [reasons]atomic.Uint64

func (c *counters) add(r Reason, n int) {
	if n != 0 {
		c[r].Add(uint64(n))
	}
}

// Counters is a snapshot. All reasons are in it, also those that never occurred.
func (h *Hub) Counters() Counters {
	c := Counters{Delivered: h.counters[noDrop].Load(), Dropped: make(map[Reason]uint64, reasons)}
	for r := noDrop + 1; r < reasons; r++ {
		c.Dropped[r] = h.counters[r].Load()
	}
	return c
}
