// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// flood sends a packet over and over until it is stopped; discard takes what
// comes. Both wait a little when there is nothing to do.
func (p *program) flood(packet []byte) (stop func()) {
	var out [32]memif.Packet
	for i := range out {
		out[i].Data = packet
	}
	return p.repeat(func() int {
		return p.conn.Tx()[0].Send(out[:])
	})
}

func (p *program) discard() (stop func()) {
	var in [64]memif.Packet
	return p.repeat(func() int {
		n := p.conn.Rx()[0].Receive(in[:])
		p.conn.Rx()[0].Release()
		p.taken.Add(uint64(n))
		return n
	})
}

func (*program) repeat(f func() int) (stop func()) {
	var ended atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		for !ended.Load() {
			if f() == 0 {
				time.Sleep(50 * time.Microsecond)
			}
		}
	})
	return func() { ended.Store(true); running.Wait() }
}

// The packet path does not allocate, with memifs either.
func TestMemifPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod, other := newNamespace(t), newNamespace(t)
	ports := [2]plane.Memif{pod.memif(t, "c1", true), pod.memif(t, "c2", true)}
	for _, c := range []*plane.Connection{
		{ID: "vxlan", Payload: plane.Ethernet, Client: ports[0], Endpoint: tunnel(0, 7, addrs4)},
		{ID: "kernel", Payload: plane.Ethernet, Client: ports[1], Endpoint: other.port(t, "nse-1")},
		{ID: "memif", Payload: plane.Ethernet, Client: pod.memif(t, "c3", true), Endpoint: pod.memif(t, "c4", true)},
	} {
		if _, err := n.Join(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	n.eventually(t, "next hop", func() bool { return n.uplink.Hops()[0].Valid })
	programs := map[string]*program{}
	for _, name := range []string{"c1", "c2", "c3", "c4"} {
		programs[name] = startProgram(t, pod.memif(t, name, true), memif.Config{}).connect(t)
	}
	n.withPeers(t, "vxlan", "kernel", "memif")
	frame := inner(1000, 1)
	sent := func(id string) func() uint64 { // to what is no memif
		e := n.ends(id)[1]
		return func() uint64 { return e.count().TxPackets }
	}
	for _, c := range []struct {
		name  string
		flood func() (stop func())
		to    *program
		count func() uint64
	}{
		{"memif to wire", func() func() { return programs["c1"].flood(frame) }, nil, sent("vxlan")},
		{"wire to memif", func() func() { return u.nodes[1].flood(t, "uplink", u.forge(frame, 7, nil)) }, programs["c1"], nil},
		{"memif to kernel", func() func() { return programs["c2"].flood(frame) }, nil, sent("kernel")},
		{"kernel to memif", func() func() { return other.flood(t, "nse-1", frame) }, programs["c2"], nil},
		{"memif to memif", func() func() { return programs["c3"].flood(frame) }, programs["c4"], nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.to != nil {
				defer c.to.discard()()
				c.count = c.to.taken.Load
			}
			n.allocatesNothing(t, 50_000, c.flood, c.count)
		})
	}
}

// Without packets a worker sleeps, whether peers are there or not, and however
// busy they have been.
func TestIdleMemifsCostNothing(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	var programs []*program
	for i := range 8 {
		id := fmt.Sprint("c", i)
		port := pod.memif(t, id, true)
		if _, err := n.Join(t.Context(), &plane.Connection{ID: id, Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, uint32(i), addrs4)}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			programs = append(programs, startProgram(t, port, memif.Config{}).connect(t))
		}
	}
	for _, p := range programs {
		for range 100 {
			p.send(t, inner(100, 1))
		}
	}
	programs[0].leave()
	var used []time.Duration
	for range 4 {
		before := n.cpu()
		time.Sleep(250 * time.Millisecond) // the time that is measured
		used = append(used, n.cpu()-before)
	}
	if least := slices.Min(used); least > 2500*time.Microsecond {
		t.Errorf("of 250 ms, a worker used at least %v", least)
	}
}

// Several workers send to one memif, and its rings are read by several.
func TestMemifAndSeveralQueues(t *testing.T) {
	u := newUnderlayOf(t, 1500, 2)
	nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
	pod := newNamespace(t)
	const tunnels = 8
	far := newNamespace(t)
	for rings := 1; rings <= 4; rings += 3 {
		t.Run(fmt.Sprint(rings, " rings"), func(t *testing.T) {
			fds := descriptors(t)
			port := pod.memif(t, "c1", true)
			if _, err := nodes[0].Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, 7, addrs4)}); err != nil {
				t.Fatal(err)
			}
			if _, err := nodes[1].Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: far.port(t, "nsm-1"), Endpoint: tunnel(1, 7, addrs4)}); err != nil {
				t.Fatal(err)
			}
			p := startProgram(t, port, memif.Config{RxRings: rings, TxRings: rings}).connect(t)
			if len(p.conn.Rx()) != rings {
				t.Errorf("%d rings", len(p.conn.Rx()))
			}
			device := far.tap(t, "nsm-1")
			for i, q := range p.conn.Tx() { // each ring is read
				f := inner(100+i, uint16(i))
				if q.Send([]memif.Packet{{Data: f}}) != 1 {
					t.Error("not taken")
				}
				device.await(t, fmt.Sprint("from ring ", i), is(f))
			}
			for i := range uint16(tunnels) { // flows go by different queues
				f := inner(200, i)
				device.send(t, f)
				p.await(t, fmt.Sprint("flow ", i), is(f))
			}
			p.close()
			for _, n := range nodes {
				if err := n.Leave(t.Context(), "c1"); err != nil {
					t.Fatal(err)
				}
			}
			nodes[0].pristine(t, fds+1, pod) // device
		})
	}
}
