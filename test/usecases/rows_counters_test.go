// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// What is sent to compare counters with: echo requests and as many answers.
const (
	counted     = 20
	countedSize = 400 // bytes of payload
	attempts    = 5
)

// requireCounted sends a known number of packets in a quiet moment, and checks
// that every counter on the way moves by exactly that. Now and then an ARP probe
// or a neighbour solicitation is on the way as well: then it is tried again.
func (r *row) requireCounted(t *testing.T) {
	t.Helper()
	r.alone.Lock()
	defer r.alone.Unlock()
	var err error
	for range attempts {
		before := r.quiet(t)
		w := r.Ways()[0]
		_, pingErr := w.PingLossless(within(t, 30*time.Second), counted, r.countedSize())
		require.NoError(t, pingErr)
		if err = r.compare(before, r.quiet(t)); err == nil {
			return
		}
		t.Logf("tried again: %v", err)
	}
	require.NoError(t, err)
}

// countedSize is the payload of each: as large as the path where that makes two
// fragments on the underlay.
func (r *row) countedSize() int {
	if r.fragments(&r.Case) && r.lab.MTU < 1500 {
		return r.pathMTU(&r.Case) - ipHeader(&r.Case) - echoHeader
	}
	return countedSize
}

// view is what the counters of a row's links, and of the classifiers, say.
type view struct {
	links    [2]*status.Link // by node; nil for none
	redirect [2]traffic      // what the classifiers gave to the forwarders
}

type traffic struct{ packets, bytes int64 }

// quiet waits until no counter moves.
func (r *row) quiet(t *testing.T) *view {
	t.Helper()
	last := r.look(t)
	eventually(t, 20*time.Second, "a quiet moment", func() bool {
		time.Sleep(30 * time.Millisecond)
		v := r.look(t)
		same := reflect.DeepEqual(v, last)
		last = v
		return same
	})
	return last
}

func (r *row) look(t *testing.T) *view {
	t.Helper()
	v := new(view)
	for i, n := range r.lab.Nodes {
		s := statusOf(t, n)
		v.links[i] = r.linkIn(t, s)
		for _, c := range s.Counters {
			if c.Verdict == "redirect" {
				v.redirect[i].packets += int64(c.Packets)
				v.redirect[i].bytes += int64(c.Bytes)
			}
		}
	}
	return v
}

// linkIn finds the row's link, by the pod behind one of its ports.
func (r *row) linkIn(t *testing.T, s *status.Status) *status.Link {
	t.Helper()
	for i := range s.Links {
		l := &s.Links[i]
		for _, w := range r.Ways() {
			_, inode, err := netns.Identity(w.From.Path)
			require.NoError(t, err)
			if l.Client.NetNS == inode || l.Endpoint.NetNS == inode {
				return l
			}
		}
	}
	return nil
}

// compare checks what has been counted between two views.
func (r *row) compare(before, after *view) error {
	packet := ipHeader(&r.Case) + echoHeader + r.countedSize()
	frame := packet
	if r.Payload == plane.Ethernet {
		frame += 14
	}
	var errs []error
	for i := range before.links {
		if (before.links[i] == nil) != (after.links[i] == nil) {
			return fmt.Errorf("node %d: the link is gone", i+1)
		}
		if before.links[i] == nil {
			if i == 0 || !r.Local() && r.VLAN == 0 {
				errs = append(errs, fmt.Errorf("node %d has no link", i+1))
			}
			continue
		}
		if r.Direct() {
			errs = append(errs, untouched(i, after.links[i]))
			continue
		}
		for _, side := range [2]struct {
			name          string
			before, after status.Port
		}{{"client", before.links[i].Client, after.links[i].Client}, {"endpoint", before.links[i].Endpoint, after.links[i].Endpoint}} {
			moved := difference(side.before.Counters, side.after.Counters)
			if want := count(frame); moved != want && (!r.onWireGuardDevice(i) || moved != count(padded(frame))) {
				errs = append(errs, fmt.Errorf("node %d, %s's side, %s: %+v, want %+v", i+1, side.name, side.after.Description, moved, want))
			}
		}
	}
	for i := range before.redirect {
		if r.lab.Planes[i] == "embedded" {
			errs = append(errs, r.compareRedirected(i, frame, before, after))
		}
	}
	return errors.Join(errs...)
}

// count is what a port counts that sends and receives the packets.
func count(length int) plane.Counters {
	n, bytes := uint64(counted), uint64(counted*length)
	return plane.Counters{RxPackets: n, RxBytes: bytes, TxPackets: n, TxBytes: bytes}
}

// onWireGuardDevice tells whether a node may use Linux's WireGuard, which counts
// packets with their padding.
func (r *row) onWireGuardDevice(node int) bool {
	return r.Tunnel == plane.KindWireGuard && r.lab.Planes[node] == "kernel"
}

// padded is the length of a packet of WireGuard's payload: a multiple of 16 bytes.
func padded(length int) int { return (length + 15) / 16 * 16 }

// untouched checks the link of two pods that share memory: nothing passes the
// forwarder, so it counts nothing.
func untouched(node int, l *status.Link) error {
	if l.Client.Counters != (plane.Counters{}) || l.Endpoint.Counters != (plane.Counters{}) {
		return fmt.Errorf("node %d: packets passed the forwarder: %+v", node+1, l)
	}
	return nil
}

func difference(a, b plane.Counters) plane.Counters {
	return plane.Counters{
		RxPackets: b.RxPackets - a.RxPackets, RxBytes: b.RxBytes - a.RxBytes,
		TxPackets: b.TxPackets - a.TxPackets, TxBytes: b.TxBytes - a.TxBytes,
		Drops: b.Drops - a.Drops,
	}
}

// compareRedirected checks that the classifier gave the forwarder the row's frames,
// and besides them only what keeps WireGuard tunnels up.
func (r *row) compareRedirected(node, inner int, before, after *view) error {
	packets := after.redirect[node].packets - before.redirect[node].packets
	bytes := after.redirect[node].bytes - before.redirect[node].bytes
	if !r.Local() && after.links[node] != nil {
		frames, length := r.onWire(inner)
		packets -= counted * int64(frames)
		bytes -= counted * int64(length)
	}
	if !upkeep(packets, bytes, int64(r.underlayExtra())) {
		return fmt.Errorf("node %d: the classifier redirected %d frames and %d bytes besides those of the row", node+1, packets, bytes)
	}
	return nil
}

// Headers on the underlay in bytes, with Ethernet and IPv4.
const (
	datagramHeaders = 14 + 20 + 8
	vxlanHeader     = 8
	guardHeader     = 16 + 16 // with authentication
	vlanTag         = 4
	ipv6Longer      = 40 - 20
	ipv6Fragment    = 8
)

// onWire is how many frames on the underlay carry a frame, or an IP packet, of inner
// bytes, and the length of all of them: two if one is too long for the underlay.
func (r *row) onWire(inner int) (frames, length int) {
	length = datagramHeaders
	switch r.Tunnel {
	case plane.KindVLAN:
		return 1, inner + vlanTag
	case plane.KindVXLAN:
		length += vxlanHeader + inner
	case plane.KindWireGuard:
		length += guardHeader + padded(inner)
	}
	length += r.underlayExtra()
	ethernet := 14
	if r.lab.VLAN != 0 {
		ethernet += vlanTag
	}
	switch {
	case length-ethernet <= r.lab.MTU:
		return 1, length
	case r.lab.IPv6:
		return 2, length + ethernet + 40 + 2*ipv6Fragment
	}
	return 2, length + ethernet + 20
}

// underlayExtra is how much longer the headers of a tunnel's frames are than on an
// untagged IPv4 underlay.
func (b *board) underlayExtra() int {
	extra := 0
	if b.lab.IPv6 {
		extra += ipv6Longer
	}
	if b.lab.VLAN != 0 {
		extra += vlanTag
	}
	return extra
}

// upkeep says whether so many frames of so many bytes may be WireGuard's own:
// keepalives of 32 bytes, and first and second messages of handshakes, of 148 and
// 92. Each of the tunnels sends at most one of each within a measurement.
func upkeep(packets, bytes, underlayExtra int64) bool {
	headers := datagramHeaders + underlayExtra
	tunnels := int64(0)
	for i := range usecase.Table {
		if usecase.Table[i].Tunnel == plane.KindWireGuard {
			tunnels++
		}
	}
	bytes -= packets * headers
	for first := range tunnels + 1 {
		for second := range tunnels + 1 {
			keepalives := packets - first - second
			if keepalives >= 0 && keepalives <= tunnels && keepalives*32+first*148+second*92 == bytes {
				return true
			}
		}
	}
	return false
}
