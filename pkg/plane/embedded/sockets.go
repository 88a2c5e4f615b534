// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// SocketConfig is how sockets are best opened for a Plane, on an uplink with the
// given MTU and number of queues.
//
// Frames are as small as the MTU allows, and the rings shorter the more queues
// share the load: 12 MiB for one queue of an ordinary uplink, 24 MiB for two or
// more with jumbo frames of up to 3.8 KiB. The FILL ring is the longer one: it
// is what a peer's burst goes into while the worker's thread is not running.
func SocketConfig(mtu, queues int) xsk.Config {
	const (
		small  = 2048
		before = 256 // what the kernel keeps free in front of received frames
		link   = packet.EthernetLen + 2*packet.TagLen
	)
	c := xsk.Config{FrameSize: xsk.DefaultFrameSize, RxSize: 4096, FillSize: 4096, TxSize: 2048, TxBudget: 256}
	if mtu+link+before <= small {
		c.FrameSize = small
	}
	for (queues > 1 || c.FrameSize > small) && c.TxSize > 512 && queues*(c.FillSize+c.TxSize)*c.FrameSize > 24<<20 {
		c.RxSize, c.FillSize, c.TxSize = c.RxSize/2, c.FillSize/2, c.TxSize/2
	}
	return c
}
