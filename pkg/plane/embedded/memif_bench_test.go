// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"fmt"
	"testing"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// What a worker carries between memifs, and between a memif and the wire.
func BenchmarkMemif(b *testing.B) {
	for _, size := range []int{50, 1450} {
		b.Run(fmt.Sprintf("memif to memif, %d bytes", size+14), func(b *testing.B) {
			u := newUnderlay(b, 1500)
			n := u.start(b, 0, addrs4, nil)
			pod := newNamespace(b)
			ports := [2]plane.Memif{pod.memif(b, "c1", true), pod.memif(b, "c2", true)}
			if _, err := n.Join(b.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: ports[0], Endpoint: ports[1]}); err != nil {
				b.Fatal(err)
			}
			from, to := startProgram(b, ports[0], memif.Config{}).connect(b), startProgram(b, ports[1], memif.Config{}).connect(b)
			n.withPeers(b, "c1")
			defer exchange(from, to, inner(size, 1))()
			measure(b, to.taken.Load, n.cpu)
		})
		b.Run(fmt.Sprintf("memif to wire, %d bytes", size+14), func(b *testing.B) {
			u := newUnderlay(b, 1600)
			n := u.start(b, 0, addrs4, nil)
			pod := newNamespace(b)
			port := pod.memif(b, "c1", true)
			if _, err := n.Join(b.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, 7, addrs4)}); err != nil {
				b.Fatal(err)
			}
			from := startProgram(b, port, memif.Config{}).connect(b)
			n.withPeers(b, "c1")
			n.eventually(b, "next hop", func() bool { return n.uplink.Hops()[0].Valid })
			u.nodes[1].drop(b, "uplink")
			defer from.flood(inner(size, 1))()
			e := n.ends("c1")[1]
			measure(b, func() uint64 { return e.count().TxPackets }, n.cpu)
		})
	}
}

// exchange sends by one program and takes by the other, in one goroutine.
func exchange(from, to *program, packet []byte) (stop func()) {
	var out, in [64]memif.Packet
	for i := range out {
		out[i].Data = packet
	}
	return from.repeat(func() int {
		n := from.conn.Tx()[0].Send(out[:])
		got := to.conn.Rx()[0].Receive(in[:])
		to.conn.Rx()[0].Release()
		to.taken.Add(uint64(got))
		return n + got
	})
}
