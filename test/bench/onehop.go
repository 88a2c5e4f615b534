// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// uplink is the end of the underlay on a node.
func uplink(n *lab.Node) (end, error) { return newEnd(n.Path, n.Addr.String()) }

// received is how many packets have come to the end's interface, whatever
// became of them.
func (e *end) received() (n uint64, err error) {
	err = netns.Do(e.ns, func() error {
		link, err := netlink.LinkByIndex(e.index)
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	return n, err
}

// podToWire is a flow of UDP from the client pod that ends at the far node's
// uplink, whose forwarder is stopped meanwhile: what one forwarder does alone.
func podToWire(m *mesh, size int) (_ *flow, stop func(), err error) {
	far := m.lab.Nodes[1]
	wire, err := uplink(far)
	if err != nil {
		return nil, nil, err
	}
	p := m.vxlan
	g, err := newGenerator(&p.client, p.server.mac, udpPacket(p.client.addr, p.server.addr, sinkPort, make([]byte, size-headers)))
	if err != nil {
		return nil, nil, err
	}
	if err := unix.Kill(far.Forwarder.PID(), unix.SIGSTOP); err != nil {
		g.close()
		return nil, nil, fmt.Errorf("stop the far forwarder: %w", err)
	}
	stop = func() {
		g.close()
		_ = unix.Kill(far.Forwarder.PID(), unix.SIGCONT)
	}
	return &flow{generator: g, cpu: 0, arrived: wire.received}, stop, nil
}

// wireToPod is a flow of VXLAN frames out of the far node's uplink, past its
// forwarder, to the client pod. The inner frames have size bytes.
func wireToPod(m *mesh, vni uint32, size int) (_ *flow, stop func(), err error) {
	from, err := uplink(m.lab.Nodes[1])
	if err != nil {
		return nil, nil, err
	}
	to, err := uplink(m.lab.Nodes[0])
	if err != nil {
		return nil, nil, err
	}
	p := m.vxlan
	sink, err := openSink(&p.client)
	if err != nil {
		return nil, nil, err
	}
	inner := udpPacket(p.server.addr, p.client.addr, sinkPort, make([]byte, size-headers))
	packet := udpPacket(from.addr, to.addr, 4789, vxlanFrame(vni, p.server.mac, p.client.mac, inner))
	g, err := newGenerator(&from, to.mac, packet)
	if err != nil {
		_ = unix.Close(sink)
		return nil, nil, err
	}
	stop = func() {
		g.close()
		_ = unix.Close(sink)
	}
	return &flow{generator: g, cpu: 0, arrived: p.client.datagrams}, stop, nil
}

// vxlanFrame is the UDP payload of RFC 7348, section 5.
func vxlanFrame(vni uint32, src, dst, packet []byte) []byte {
	f := make([]byte, 8, 8+14+len(packet))
	f[0] = 0x08 // the VNI is valid
	binary.BigEndian.PutUint32(f[4:], vni<<8)
	f = append(f, dst...)
	f = append(f, src...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IP)
	return append(f, packet...)
}
