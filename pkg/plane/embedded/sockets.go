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
// share the load: 12 MiB for one queue of an ordinary uplink, and 24 MiB at most
// for up to four queues of any. The FILL ring is the longer one: it is what a
// peer's burst goes into while the worker's thread is not running.
func SocketConfig(mtu, queues int) xsk.Config {
	const small = 2048
	c := xsk.Config{FrameSize: xsk.DefaultFrameSize, RxSize: 4096, FillSize: 4096, TxSize: 2048, TxBudget: 256}
	if mtu <= frameMTU(small) {
		c.FrameSize = small
	}
	for (queues > 1 || c.FrameSize > small) && c.TxSize > 512 && queues*(c.FillSize+c.TxSize)*c.FrameSize > 24<<20 {
		c.RxSize, c.FillSize, c.TxSize = c.RxSize/2, c.FillSize/2, c.TxSize/2
	}
	return c
}

// UnderlayMTU is how much of an uplink's MTU tunnels can use: a packet lies in
// one UMEM frame of at most 4 KiB, so that larger ones of jumbo uplinks are out
// of reach.
func UnderlayMTU(mtu int) int { return min(mtu, frameMTU(xsk.DefaultFrameSize)) }

// frameMTU is the MTU that frames of a size can take: the kernel keeps some
// bytes free in front of received packets, and there are Ethernet and tags.
func frameMTU(size int) int {
	const before = 256 // XDP_PACKET_HEADROOM
	return size - before - packet.EthernetLen - 2*packet.TagLen
}
