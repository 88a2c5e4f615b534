// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nsm-afxdp/forwarder/internal/testpmd"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// startTestpmd runs a pod's program in a namespace that carries packets between
// the other ends of memif ports.
func startTestpmd(t testing.TB, ns *namespace, ports []plane.Memif, rings int) *testpmd.Process {
	t.Helper()
	cfg := testpmd.Config{
		NetNS: ns.path, CPU: 1, Mode: "io",
		Options: []string{fmt.Sprintf("--rxq=%d", rings), fmt.Sprintf("--txq=%d", rings)},
	}
	for i, port := range ports {
		role := "server"
		if port.Master {
			role = "client"
		}
		cfg.Devices = append(cfg.Devices, testpmd.Memif(i, role, port.Socket, "rsize=10"))
	}
	p, err := testpmd.Start(cfg)
	if errors.Is(err, testpmd.ErrAbsent) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(p.Kill)
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// turned are a port's counters as the plane should have them.
func turned(t testing.TB, p *testpmd.Process, port int) plane.Counters {
	t.Helper()
	c, err := p.Counters(port)
	must(t, err)
	return plane.Counters{RxPackets: c.TxPackets, RxBytes: c.TxBytes, TxPackets: c.RxPackets, TxBytes: c.RxBytes}
}

// withPeers waits until memif ports have a peer.
func (n *node) withPeers(t testing.TB, ids ...string) {
	t.Helper()
	n.eventually(t, "memif peers", func() bool {
		for _, id := range ids {
			for _, e := range n.ends(id) {
				if m, ok := e.(*memifPort); ok && m.tx.Load() == nil {
					return false
				}
			}
		}
		return true
	})
}

// A pod whose program is DPDK stands between a pod of the kernel on this node and
// a VXLAN tunnel to one on another.
func TestTestpmd(t *testing.T) {
	for _, role := range memifRoles {
		for _, rings := range []int{1, 4} {
			t.Run(fmt.Sprintf("we are %s/%d rings", role.name, rings), func(t *testing.T) {
				u := newUnderlay(t, 1500)
				n, far := u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)
				n.memifRings = rings
				pods, between := [2]*namespace{newNamespace(t), newNamespace(t)}, newNamespace(t)
				ports := []plane.Memif{between.memif(t, "c1", role.master), between.memif(t, "c2", role.master)}
				connections := []*plane.Connection{
					{ID: "c1", Payload: plane.Ethernet, MTU: 1450, Client: pods[0].port(t, "nsm-1"), Endpoint: ports[0]},
					{ID: "c2", Payload: plane.Ethernet, Client: ports[1], Endpoint: tunnel(0, 7, addrs4)},
					{ID: "c3", Payload: plane.Ethernet, Client: tunnel(1, 7, addrs4), Endpoint: pods[1].port(t, "nsm-1")},
				}
				for i, on := range []*node{n, n, far} {
					if _, err := on.Join(t.Context(), connections[i]); err != nil {
						t.Fatal(err)
					}
				}
				p := startTestpmd(t, between, ports, rings)
				n.withPeers(t, "c1", "c2")
				must(t, p.Forward())
				for i, pod := range pods {
					pod.addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
				}
				pods[0].ping(t, "10.7.0.2")
				stream(t, pods[0], pods[1], "10.7.0.2", 4<<20)
				stream(t, pods[1], pods[0], "fd07::1", 4<<20)
				// Quiet, so that all counters can be read.
				for _, ns := range pods {
					if err := ns.handle.LinkSetDown(ns.link(t, "nsm-1")); err != nil {
						t.Fatal(err)
					}
				}
				var ours, theirs [2]plane.Counters
				defer func() {
					if t.Failed() {
						t.Logf("the plane's counters %+v, testpmd's turned round %+v", ours, theirs)
					}
				}()
				n.eventually(t, "the counters agree", func() bool {
					links := n.Links()
					ours = [2]plane.Counters{links[0].Endpoint.Counters, links[1].Client.Counters}
					theirs = [2]plane.Counters{turned(t, p, 0), turned(t, p, 1)}
					for i := range ours {
						ours[i].Drops = 0
					}
					return ours == theirs
				})
				if ours[0].RxBytes < 4<<20 || ours[0].TxBytes < 4<<20 {
					t.Errorf("counters %+v", ours)
				}
				must(t, p.Stop())
				for _, c := range connections {
					if err := n.Leave(t.Context(), c.ID); err != nil {
						t.Fatal(err)
					}
				}
				must(t, p.Quit())
			})
		}
	}
}
