// SPDX-License-Identifier: Apache-2.0

// Package tally counts the packets of a port.
package tally

import (
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Counters of a port, written once per burst by one goroutine. They fill two
// cache lines, so that the adjacent-line prefetcher does not make writers share
// one.
type Counters struct {
	rxPackets, rxBytes atomic.Uint64
	txPackets, txBytes atomic.Uint64
	drops              atomic.Uint64
	_                  [128 - 5*8]byte
}

// Received counts what came in from the peer behind the port.
func (c *Counters) Received(packets, bytes int) {
	c.rxPackets.Add(uint64(packets))
	c.rxBytes.Add(uint64(bytes))
}

// Sent counts what went to it.
func (c *Counters) Sent(packets, bytes int) {
	c.txPackets.Add(uint64(packets))
	c.txBytes.Add(uint64(bytes))
}

// Dropped counts what went no further, in either direction.
func (c *Counters) Dropped(packets int) {
	if packets > 0 {
		c.drops.Add(uint64(packets))
	}
}

// Sum adds up the counters of a port.
func Sum(c []Counters) plane.Counters {
	var s plane.Counters
	for i := range c {
		s.RxPackets += c[i].rxPackets.Load()
		s.RxBytes += c[i].rxBytes.Load()
		s.TxPackets += c[i].txPackets.Load()
		s.TxBytes += c[i].txBytes.Load()
		s.Drops += c[i].drops.Load()
	}
	return s
}
