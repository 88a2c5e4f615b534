// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"sync/atomic"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// counters of a port, written once per burst by one worker. They fill two cache
// lines, so that the adjacent-line prefetcher does not make workers share one.
type counters struct {
	rxPackets, rxBytes atomic.Uint64
	txPackets, txBytes atomic.Uint64
	drops              atomic.Uint64
	_                  [128 - 5*8]byte
}

func (c *counters) received(packets, bytes int) {
	c.rxPackets.Add(uint64(packets))
	c.rxBytes.Add(uint64(bytes))
}

func (c *counters) sent(packets, bytes int) {
	c.txPackets.Add(uint64(packets))
	c.txBytes.Add(uint64(bytes))
}

func (c *counters) dropped(packets int) {
	if packets > 0 {
		c.drops.Add(uint64(packets))
	}
}

// sum adds up the counters of a port.
func sum(c []counters) plane.Counters {
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
