// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// From the wire to a pod:
//
//  1. receive takes a burst from the RX ring.
//  2. accept parses each frame, verifies lengths and checksums, and finds the
//     tunnel by local and remote address, port and VNI. Datagrams for WireGuard
//     leave here: its hub decides what becomes of them. A frame with the tag of a
//     VLAN that we hold is not parsed further (vlan_receive.go). Fragments wait
//     for the rest of their datagram (reassembly.go).
//  3. deliver sorts the burst by tunnel and gives each its share, in order.
//  4. The port at the tunnel's other end passes it on.
//  5. The frames go back to the FILL ring.

// Reasons for dropping a frame beyond those of package packet.
const (
	// dropUnknown: no tunnel has this local address, port and VNI.
	dropUnknown = packet.Reasons + iota
	// dropStranger: there is such a tunnel, but with another remote.
	dropStranger
	// dropSplit: the frame is larger than one UMEM frame, or a fragmented datagram
	// than maxWhole.
	dropSplit
	// dropUplink: the uplink could not take the packet.
	dropUplink
	// dropOverlap: fragments of a datagram contradict each other.
	dropOverlap
	// dropIncomplete: fragments of a datagram did not come in time.
	dropIncomplete
	// dropCrowded: a datagram was incomplete when too many others were as well.
	dropCrowded

	dropReasons
)

func dropName(r packet.Reason) string {
	switch r {
	case dropUnknown:
		return "unknown_tunnel"
	case dropStranger:
		return "stranger"
	case dropSplit:
		return "too_long"
	case dropUplink:
		return "uplink_busy"
	case dropOverlap:
		return "fragment_overlap"
	case dropIncomplete:
		return "fragment_incomplete"
	case dropCrowded:
		return "fragment_crowded"
	}
	return r.String()
}

// rxState is the burst that a worker is at.
type rxState struct {
	descs   [burstSize]xsk.Desc
	frames  [burstSize]frame
	owners  [burstSize]*inlet
	macs    [burstSize][6]byte
	share   [burstSize]frame
	split   bool // the last descriptor was continued
	lastKey tunnelKey
	last    *vxlanPort
	table   *table // that last was found in
	post    post
	// joined is where datagrams that came in fragments lie whole, by place in the
	// burst; nil before the first.
	joined [][maxWhole]byte
}

// inlet is where its share of a burst goes: the end of a tunnel, or of a VLAN.
type inlet struct{ port receiver }

// receiver takes frames that came for it. from is the MAC address that the first
// one was sent by on the underlay.
type receiver interface {
	received(w *worker, burst []frame, from [6]byte)
}

// receive does stages 1 to 5 for one burst and returns how many frames there
// were.
func (w *worker) receive() int {
	rx := &w.rx
	n := w.sock.Receive(rx.descs[:])
	if n == 0 {
		return 0
	}
	if t := w.plane.table.Load(); t != rx.table {
		rx.table, rx.last = t, nil
	}
	for i := range n {
		rx.owners[i] = w.accept(i)
	}
	rx.post.deliver()
	w.deliver(n)
	w.sock.Recycle(rx.descs[:n])
	return n
}

// accept parses frame i of the burst. It returns where it is to go, or nil if the
// frame goes no further.
func (w *worker) accept(i int) *inlet {
	rx := &w.rx
	d := rx.descs[i]
	continued := d.Options&xsk.Continued != 0
	if continued || rx.split {
		if !rx.split {
			w.drops[dropSplit].Add(1)
		}
		rx.split = continued
		return nil
	}
	outer := w.sock.Frame(d)
	if len(rx.table.vlans) > 0 {
		if v := rx.table.vlans[packet.VLAN(outer)]; v != nil {
			return w.acceptTagged(i, d, outer, v)
		}
	}
	var dg packet.Datagram
	switch r := dg.ParseDatagram(outer); r {
	case packet.OK:
		return w.acceptDatagram(i, &dg, outer, w.sock.Buffer(d.Addr))
	case packet.Fragment:
		return w.acceptFragment(i, outer)
	default:
		w.drops[r].Add(1)
		return nil
	}
}

// acceptDatagram is accept for a datagram in a frame, which shares the end of its
// capacity with buf.
func (w *worker) acceptDatagram(i int, dg *packet.Datagram, outer, buf []byte) *inlet {
	rx := &w.rx
	payload := outer[dg.Start:dg.End]
	if len(rx.table.hubs) > 0 {
		if h := rx.table.hubs[hubKey{dg.Destination, dg.DestinationPort}]; h != nil {
			rx.post.add(h, dg, payload)
			return nil
		}
	}
	vni, r := packet.ParseVXLAN(payload)
	if r != packet.OK {
		w.drops[r].Add(1)
		return nil
	}
	key := tunnelKey{local: dg.Destination, remote: dg.Source, vni: vni, port: dg.DestinationPort}
	if rx.last == nil || key != rx.lastKey {
		found := rx.table.tunnels[key]
		if found == nil {
			w.drops[rx.table.why(key)].Add(1)
			return nil
		}
		rx.last, rx.lastKey = found, key
	}
	at := len(buf) - cap(outer) // of the frame in its UMEM frame
	rx.frames[i] = frame{buf: buf, start: at + dg.Start + packet.VXLANLen, end: at + dg.End, addr: noFrame}
	rx.macs[i] = dg.MAC
	return &rx.last.inlet
}

// acceptFragment is accept for a fragment: its datagram goes on if it is complete.
func (w *worker) acceptFragment(i int, outer []byte) *inlet {
	rx := &w.rx
	if rx.joined == nil {
		rx.joined = make([][maxWhole]byte, burstSize)
	}
	buf := rx.joined[i][:]
	n := w.plane.reassembly.add(outer, buf, time.Now(), &w.drops)
	if n == 0 {
		return nil
	}
	var dg packet.Datagram
	if r := dg.ParseDatagram(buf[:n]); r != packet.OK {
		w.drops[r].Add(1)
		return nil
	}
	return w.acceptDatagram(i, &dg, buf[:n], buf)
}

// deliver gives each tunnel its share of the burst.
func (w *worker) deliver(n int) {
	rx := &w.rx
	for i := range n {
		owner := rx.owners[i]
		if owner == nil {
			continue
		}
		share := 0
		for j := i; j < n; j++ {
			if rx.owners[j] == owner {
				rx.share[share] = rx.frames[j]
				rx.owners[j] = nil
				share++
			}
		}
		owner.port.received(w, rx.share[:share], rx.macs[i])
	}
}

// serve does what the events of a poll ask for, and returns how many it served.
func (w *worker) serve(events []unix.EpollEvent) int {
	for i := range events {
		switch slot := int(events[i].Fd); slot {
		case slotEvent:
			w.poll.woken()
		case slotUplink: // the next turn receives
		default:
			if s := w.sources[slot]; s != nil {
				s.receive(w, events[i].Events)
			}
		}
	}
	return len(events)
}
