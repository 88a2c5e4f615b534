// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/links"
)

// The packet path does not allocate: not once per packet, nor per burst.
func TestPacketPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 7, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	n.eventually(t, "next hop", func() bool { return n.uplink.Hops()[0].Valid })
	ends := n.ends("c1")
	for _, c := range []struct {
		name  string
		flood func() (stop func())
		count func() uint64
	}{
		{"pod to wire", func() func() { return pod.flood(t, "nsm-1", inner(1000, 1)) },
			func() uint64 { return ends[1].count().TxPackets }},
		{"wire to pod", func() func() { return u.nodes[1].flood(t, "uplink", u.forge(inner(1000, 1), 7, nil)) },
			func() uint64 { return ends[0].count().TxPackets }},
	} {
		t.Run(c.name, func(t *testing.T) { n.allocatesNothing(t, 50_000, c.flood, c.count) })
	}
}

// ends are the client's and the endpoint's end of a connection. Unlike Links, they
// can be asked for counters without allocating.
func (n *node) ends(id string) [2]end {
	l, _ := n.links.Get(id)
	return l.ends
}

// allocatesNothing lets a number of packets flow and looks at the heap meanwhile.
func (n *node) allocatesNothing(t *testing.T, number uint64, flood func() (stop func()), count func() uint64) {
	t.Helper()
	first := count()
	stop := flood()
	n.eventually(t, "traffic", func() bool { return count() > first+1000 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := count()
	n.eventually(t, "more traffic", func() bool { return count() > start+number })
	runtime.ReadMemStats(&after)
	packets := count() - start
	stop()
	// What others of the process allocate is among them.
	if got := after.Mallocs - before.Mallocs; got > packets/100 {
		t.Errorf("%d allocations for %d packets", got, packets)
	}
}

// Without packets a worker sleeps.
func TestIdleCostsNothing(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 7, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	// The pod's kernel says hello for a while (IPv6 multicast).
	if err := pod.handle.LinkSetDown(pod.link(t, "nsm-1")); err != nil {
		t.Fatal(err)
	}
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

// A next hop that appears later, a peer that was away, an uplink that was down:
// all heal by themselves.
func TestPacketsFlowAgain(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	peer := u.nodes[1]
	address, err := netlink.ParseAddr(addrs4[1].String() + "/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.handle.AddrDel(peer.link(t, "uplink"), address); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 42, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	pod.addr(t, "nsm-1", "10.7.0.1/24")
	pod.tap(t, "nsm-1").send(t, inner(100, 1))
	n.eventually(t, "a drop for want of a next hop", func() bool { return n.Links()[0].Endpoint.Counters.Drops > 0 })

	peer.addr(t, "uplink", addrs4[1].String()+"/24")
	u.kernelVXLAN(t, 1, 42, addrs4, "10.7.0.2/24")
	pod.ping(t, "10.7.0.2")

	t.Run("the peer has another MAC address", func(t *testing.T) {
		other := []byte{2, 0x99, 0, 0, 0, 1}
		if err := peer.handle.LinkSetHardwareAddr(peer.link(t, "uplink"), other); err != nil {
			t.Fatal(err)
		}
		pod.ping(t, "10.7.0.2")
	})
	t.Run("the uplink was down", func(t *testing.T) {
		for _, up := range []bool{false, true} {
			l := u.nodes[0].link(t, "uplink")
			set := u.nodes[0].handle.LinkSetDown
			if up {
				set = u.nodes[0].handle.LinkSetUp
			}
			if err := set(l); err != nil {
				t.Fatal(err)
			}
			wire := pod.tap(t, "nsm-1")
			for range 5000 { // more than all frames
				wire.send(t, inner(100, 1))
			}
		}
		pod.ping(t, "10.7.0.2")
	})
	for _, s := range n.socks {
		if st, err := s.Statistics(); err != nil || st.Refused+st.TxInvalid+st.RxInvalid != 0 {
			t.Errorf("%+v, %v", st, err)
		}
	}
}

// WireGuard's senders neither hang nor stay out when the uplink was down.
func TestWireGuardFlowsAgain(t *testing.T) {
	u := newUnderlay(t, 1500)
	nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
	pods := u.guarded(t, nodes, addrs4, 1440)
	pods[0].ping(t, "10.7.0.2")
	uplink := u.nodes[0].link(t, "uplink")
	if err := u.nodes[0].handle.LinkSetDown(uplink); err != nil {
		t.Fatal(err)
	}
	// To nowhere in particular, more than all frames.
	conn := pods[0].dialUDP(t, &net.UDPAddr{IP: net.IPv4(10, 7, 0, 9), Port: 9}, true)
	for range 5000 {
		_, _ = conn.Write(make([]byte, 100))
	}
	if err := u.nodes[0].handle.LinkSetUp(uplink); err != nil {
		t.Fatal(err)
	}
	pods[0].ping(t, "10.7.0.2")
}

// Close does not wait for a peer that does not answer.
func TestCloseInterruptsJoin(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	joined := make(chan error)
	go func() {
		_, err := n.Join(t.Context(), &plane.Connection{
			ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guard(0, addrs4, true),
		})
		joined <- err
	}()
	n.eventually(t, "the join is under way", func() bool { return len(n.table.Load().hubs) > 0 })
	start := time.Now()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-joined; err == nil || time.Since(start) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	if _, err := n.Join(t.Context(), &plane.Connection{ID: "c2"}); !errors.Is(err, links.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// A pod that goes without a word takes its interface along, and nothing else.
func TestPodGoes(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	for i, pod := range pods {
		if _, err := n.Join(t.Context(), &plane.Connection{
			ID: fmt.Sprint(i), Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, uint32(41+i), addrs4),
		}); err != nil {
			t.Fatal(err)
		}
	}
	u.kernelVXLAN(t, 1, 42, addrs4, "10.7.0.2/24")
	pods[1].addr(t, "nsm-1", "10.7.0.1/24")
	if err := pods[0].handle.LinkDel(pods[0].link(t, "nsm-1")); err != nil {
		t.Fatal(err)
	}
	pods[1].ping(t, "10.7.0.2")
	before := n.cpu()
	time.Sleep(100 * time.Millisecond) // the time that is measured
	if used := n.cpu() - before; used > 50*time.Millisecond {
		t.Errorf("the worker used %v of 100 ms", used)
	}
	// The same name can be joined again under the same id once it was left.
	if err := n.Leave(t.Context(), "0"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "0", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-1"), Endpoint: tunnel(0, 41, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
}

// A process that is killed leaves no interface, and its successor can make the
// same one at once.
func TestRestartAfterKill(t *testing.T) {
	u := newUnderlay(t, 1500)
	u.kernelVXLAN(t, 1, 7, addrs4, "10.7.0.2/24")
	p := u.startProcess(t, 0, addrs4, false)
	p.pod.ping(t, "10.7.0.2")
	mac := p.pod.link(t, "nsm-1").Attrs().HardwareAddr.String()
	p.kill(t)
	if links := p.pod.links(t); len(links) != 0 {
		t.Fatalf("interfaces %v are left", links)
	}
	start := time.Now()
	n := u.start(t, 0, addrs4, nil)
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: p.pod.port(t, "nsm-1"), Endpoint: tunnel(0, 7, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	p.pod.addr(t, "nsm-1", "10.7.0.1/24")
	p.pod.ping(t, "10.7.0.2")
	t.Logf("back after %v", time.Since(start))
	if got := p.pod.link(t, "nsm-1").Attrs().HardwareAddr.String(); got != mac {
		t.Errorf("MAC address %s, was %s", got, mac)
	}
}

// Several queues: ports are spread, and whoever receives may deliver.
func TestSeveralQueues(t *testing.T) {
	u := newUnderlayOf(t, 1500, 2)
	nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
	if got := len(nodes[0].workers); got != 2 {
		t.Fatalf("%d workers", got)
	}
	var pods [4][2]*namespace
	for c := range pods {
		for i := range nodes {
			pods[c][i] = newNamespace(t)
			if _, err := nodes[i].Join(t.Context(), &plane.Connection{
				ID: fmt.Sprint(c), Payload: plane.Ethernet, Client: pods[c][i].port(t, "nsm-1"), Endpoint: tunnel(i, uint32(c), addrs4),
			}); err != nil {
				t.Fatal(err)
			}
			pods[c][i].addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1))
		}
	}
	for c := range pods {
		pods[c][0].ping(t, "10.7.0.2")
		stream(t, pods[c][0], pods[c][1], "10.7.0.2", 8<<20)
	}
	for _, w := range nodes[0].workers {
		if w.load != 2 {
			t.Errorf("worker %d has %d ports", w.id, w.load)
		}
	}
}
