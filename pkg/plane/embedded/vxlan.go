// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
)

// From a pod to the wire, a burst at a time:
//
//  1. The next hop is loaded; if it changed, the headers are made anew.
//  2. What is larger than the MTU is cut, each segment copied into a UMEM frame
//     behind room for the headers; other packets lie in one already, and have
//     their checksum finished.
//  3. The outer headers are stamped in front, with the flow's source port.
//  4. The packet is queued for the TX ring; in fragments (fragment.go) if the
//     underlay does not take it as a whole.

// vxlanPort is the end of a VXLAN tunnel.
type vxlanPort struct {
	plane   *Plane
	port    plane.VXLAN
	key     tunnelKey
	nextHop *uplink.NextHop
	inlet   inlet
	// mtu is what the uplink carries, without Ethernet header.
	mtu  int
	peer sink // what comes out of the tunnel goes there; set while connected

	counters []tally.Counters // by worker
	caches   []vxlanCache     // by worker
}

// vxlanCache is a worker's copy of the headers, made from hop.
type vxlanCache struct {
	hop     *uplink.Hop
	outer   packet.Outer
	limit   int // of a packet inside, in bytes from its Ethernet header on
	whole   int // of a frame on the underlay; longer ones are fragmented
	answers tun.Answers
	_       [64]byte
}

func newVXLAN(p *Plane, c *plane.Connection, port plane.VXLAN) (end, error) {
	if err := tunnels.CheckVXLAN(c.Payload, port); err != nil {
		return nil, err
	}
	v := &vxlanPort{
		plane: p,
		port:  port,
		mtu:   p.mtu,
		key: tunnelKey{
			local:  packet.AddrFrom(port.Local),
			remote: packet.AddrFrom(port.Remote),
			vni:    port.VNI,
			port:   port.LocalPort,
		},
		counters: make([]tally.Counters, len(p.workers)),
		caches:   make([]vxlanCache, len(p.workers)),
	}
	v.inlet.port = v
	if err := p.fault("next hop"); err != nil {
		return nil, err
	}
	var err error
	if v.nextHop, err = p.uplink.NextHop(port.Remote.Unmap()); err != nil {
		return nil, fmt.Errorf("find the way to %s: %w", port.Remote, err)
	}
	return v, nil
}

func (v *vxlanPort) connect(_ context.Context, other end) error {
	peer, ok := other.(pod)
	if !ok {
		return fmt.Errorf("VXLAN can be joined to an interface in a pod only: %w", plane.ErrUnsupported)
	}
	if err := v.plane.fault("tunnel"); err != nil {
		return err
	}
	v.plane.tables.Lock()
	defer v.plane.tables.Unlock()
	t := v.plane.table.Load()
	if t.tunnels[v.key] != nil {
		return errors.New("another connection has this VNI with this remote")
	}
	v.peer = peer
	v.plane.table.Store(t.with(v.key, v))
	return nil
}

func (v *vxlanPort) disconnect() {
	v.plane.tables.Lock()
	if t := v.plane.table.Load(); t.tunnels[v.key] == v {
		v.plane.table.Store(t.without(v.key))
	}
	v.plane.tables.Unlock()
	v.plane.settle()
}

func (v *vxlanPort) close() error {
	v.nextHop.Release()
	return nil
}

func (v *vxlanPort) count() plane.Counters { return tally.Sum(v.counters) }

// received passes a burst that came out of the tunnel on. mac is where its first
// packet came from.
func (v *vxlanPort) received(w *worker, burst []frame, mac [6]byte) {
	if hop := v.nextHop.Load(); hop.Valid && hop.Dst != mac {
		v.nextHop.Suspect(mac)
	}
	bytes := 0
	for i := range burst {
		bytes += burst[i].len()
	}
	v.counters[w.id].Received(len(burst), bytes)
	v.peer.send(w, burst)
}

// send puts a burst into the tunnel.
func (v *vxlanPort) send(w *worker, burst []frame) {
	c := &v.caches[w.id]
	hop := v.nextHop.Load()
	if hop != c.hop {
		v.prepare(c, hop)
	}
	if !hop.Valid {
		v.counters[w.id].Dropped(len(burst))
		return
	}
	var packets, bytes, drops int
	for i := range burst {
		f := &burst[i]
		source := packet.SourcePort(packet.FlowHash(f.bytes(), packet.Ethernet))
		if f.offload.GSOType != packet.GSONone {
			p, b, d := v.split(w, c, f, source)
			packets, bytes, drops = packets+p, bytes+b, drops+d
			continue
		}
		if f.len() > c.limit {
			w.answer(v.peer, &c.answers, f, packet.Ethernet, c.limit)
			drops++
			continue
		}
		if !f.offload.FinishChecksum(f.bytes()) {
			drops++
			continue
		}
		length := f.len()
		if !v.emit(w, c, f, source) {
			drops++
			continue
		}
		packets++
		bytes += length
	}
	v.counters[w.id].Sent(packets, bytes)
	v.counters[w.id].Dropped(drops)
}

// prepare makes the headers for a next hop.
func (v *vxlanPort) prepare(c *vxlanCache, hop *uplink.Hop) {
	c.hop = hop
	c.outer = packet.NewVXLAN(packet.Underlay{
		Destination: hop.Dst,
		Source:      hop.Src,
		Tags:        hop.Tags,
		Local:       netip.AddrPortFrom(v.port.Local, v.port.LocalPort),
		Remote:      netip.AddrPortFrom(v.port.Remote, v.port.RemotePort),
	}, v.port.VNI)
	mtu := v.mtu
	if hop.MTU > 0 && hop.MTU < mtu {
		mtu = hop.MTU
	}
	c.limit = tunnels.VXLANMTU(mtu, v.port.Remote) + packet.EthernetLen
	c.whole = mtu + c.outer.Len() - c.outer.Overhead()
}

// split sends a large packet in segments.
func (v *vxlanPort) split(w *worker, c *vxlanCache, f *frame, source uint16) (packets, bytes, drops int) {
	s := &w.segment
	if !s.Start(&f.offload, packet.Ethernet, f.bytes(), f.more, c.limit) {
		if s.TooBig() {
			w.answer(v.peer, &c.answers, f, packet.Ethernet, c.limit)
		}
		return 0, 0, 1
	}
	for s.Left() {
		addr, ok := w.take()
		if !ok {
			return packets, bytes, drops + 1
		}
		segment := frame{buf: w.sock.Buffer(addr), start: headroom, addr: addr}
		n := s.Next(segment.buf[headroom:])
		segment.end = headroom + n
		if !v.emit(w, c, &segment, source) {
			return packets, bytes, drops + 1
		}
		packets++
		bytes += n
	}
	return packets, bytes, drops
}

// emit stamps the headers in front of a packet and queues it.
func (v *vxlanPort) emit(w *worker, c *vxlanCache, f *frame, source uint16) bool {
	start := f.start - c.outer.Len()
	if f.addr == noFrame || start < 0 {
		return false
	}
	c.outer.Stamp(f.buf[start:f.end], source)
	addr := f.addr
	f.addr = noFrame
	if f.end-start > c.whole {
		return w.queueFragments(&c.outer, addr, f.buf[start:f.end], c.whole)
	}
	return w.queue(addr, start, f.end-start)
}
