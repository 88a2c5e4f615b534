// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// links are the names of the interfaces in a namespace, without lo.
func (n *namespace) links(t testing.TB) []string {
	t.Helper()
	all, err := n.handle.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range all {
		if name := l.Attrs().Name; name != "lo" {
			names = append(names, name)
		}
	}
	return names
}

func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// pristine fails the test unless the plane holds nothing and the pods have no
// interfaces.
func (n *node) pristine(t testing.TB, fds int, pods ...*namespace) {
	t.Helper()
	// Fewer are possible: what earlier tests left is closed at some time.
	if got := descriptors(t); got > fds {
		t.Errorf("%d descriptors are open, were %d", got, fds)
	}
	if hops := n.uplink.Hops(); len(hops) != 0 {
		t.Errorf("next hops are held: %v", hops)
	}
	if table := n.table.Load(); len(table.tunnels)+len(table.hubs)+len(table.vlans) != 0 {
		t.Errorf("the table has %d tunnels, %d hubs, %d VLANs", len(table.tunnels), len(table.hubs), len(table.vlans))
	}
	if links := n.Links(); len(links) != 0 {
		t.Errorf("links are left: %v", links)
	}
	for i, pod := range pods {
		if links := pod.links(t); len(links) != 0 {
			t.Errorf("pod %d has interfaces %v", i, links)
		}
	}
	for _, w := range n.workers {
		w.do(func() {
			if slices.ContainsFunc(w.sources, func(s source) bool { return s != nil }) || w.load != 0 {
				t.Errorf("worker %d has sources", w.id)
			}
		})
	}
}

// Each step of Join fails once, and nothing is left behind.
func TestFailedStepsLeaveNothing(t *testing.T) {
	u := newUnderlay(t, 1500)
	var steps []string
	failing := -1
	n := u.start(t, 0, addrs4, func(step string) error {
		steps = append(steps, step)
		if len(steps)-1 == failing {
			return errors.New("made to fail")
		}
		return nil
	})
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	fds := descriptors(t)
	for _, c := range []*plane.Connection{
		{ID: "vxlan", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-1"), Endpoint: tunnel(0, 7, addrs4)},
		{ID: "veth", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-1"), Endpoint: pods[1].port(t, "nse-1")},
		{ID: "wireguard", Payload: plane.IP, Client: pods[0].port(t, "nsm-1"), Endpoint: guard(0, addrs4, false)},
		{ID: "memif", Payload: plane.Ethernet, Client: pods[0].memif(t, "c1", true), Endpoint: tunnel(0, 7, addrs4)},
		{ID: "memif slave", Payload: plane.IP, Client: pods[0].port(t, "nsm-1"), Endpoint: pods[1].memif(t, "c1", false)},
		{ID: "direct memif", Payload: plane.IP, Client: pods[0].memif(t, "c1", true), Endpoint: pods[1].memif(t, "c1", false)},
		{ID: "memif wireguard", Payload: plane.IP, Client: pods[0].memif(t, "c1", true), Endpoint: guard(0, addrs4, false)},
	} {
		failing, steps = -1, nil
		if _, err := n.Join(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := n.Leave(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		n.pristine(t, fds, pods[:]...)
		all := steps
		if len(all) < 3 {
			t.Fatalf("%s: only steps %v", c.ID, all)
		}
		for i, step := range all {
			failing, steps = i, nil
			_, err := n.Join(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), "made to fail") {
				t.Fatalf("%s: step %d, %s: error %v", c.ID, i, step, err)
			}
			n.pristine(t, fds, pods[:]...)
		}
	}
}

type unknownPort struct{}

func (unknownPort) Kind() plane.Kind { return "SRV6" }
func (unknownPort) String() string   { return "SRv6" }

func TestBadConnections(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod, gone := newNamespace(t), newNamespace(t)
	taken := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "nsm-1"
	if err := taken.handle.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "other"}); err != nil {
		t.Fatal(err)
	}
	startProgram(t, pod.memif(t, "taken", false), memif.Config{})
	elsewhere := pod.memif(t, "c1", true)
	elsewhere.Inode++
	fds := descriptors(t)
	moved := pod.port(t, "nsm-1")
	moved.Inode = gone.port(t, "nsm-1").Inode
	missing := pod.port(t, "nsm-1")
	missing.NetNS = "/proc/self/fd/9999"
	good := tunnel(0, 7, addrs4)
	for _, c := range []struct {
		name     string
		conn     plane.Connection
		contains string
		is       error
	}{
		{"name is taken", plane.Connection{Payload: plane.Ethernet, Client: taken.port(t, "nsm-1"), Endpoint: good}, "there already", podif.ErrNameTaken},
		{"name is taken at a veth's end", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: taken.port(t, "nsm-1")}, "there already", podif.ErrNameTaken},
		{"name is too long", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1234567890ab"), Endpoint: good}, "at most 15", nil},
		{"name has a slash", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm/1"), Endpoint: good}, "not possible", nil},
		{"no name", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, ""), Endpoint: good}, "not possible", nil},
		{"another pod has the path", plane.Connection{Payload: plane.Ethernet, Client: moved, Endpoint: good}, "the pod is gone", nil},
		{"path leads nowhere", plane.Connection{Payload: plane.Ethernet, Client: missing, Endpoint: good}, "cannot be reached", os.ErrNotExist},
		{"memif's pod is gone", plane.Connection{Payload: plane.Ethernet, Client: elsewhere, Endpoint: good}, "the pod is gone", nil},
		{"memif's path leads nowhere", plane.Connection{Payload: plane.Ethernet, Client: plane.Memif{Socket: "@x", NetNS: "/proc/self/fd/9999"}, Endpoint: good}, "cannot be reached", os.ErrNotExist},
		{"memif's socket is taken", plane.Connection{Payload: plane.Ethernet, Client: pod.memif(t, "taken", true), Endpoint: good}, "in use", nil},
		{"memif's socket has no name", plane.Connection{Payload: plane.Ethernet, Client: plane.Memif{Master: true}, Endpoint: good}, "no socket", nil},
		{"both ends are one interface", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: pod.port(t, "nsm-1")}, "both ends", nil},
		{"MTU does not fit", plane.Connection{Payload: plane.Ethernet, MTU: 1451, Client: pod.port(t, "nsm-1"), Endpoint: good}, "leaves 1450", nil},
		{"MTU is tiny", plane.Connection{Payload: plane.Ethernet, MTU: 500, Client: pod.port(t, "nsm-1"), Endpoint: good}, "less than 576", nil},
		{"VXLAN carries no IP payload", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: good}, "VXLAN carries Ethernet", plane.ErrUnsupported},
		{"WireGuard carries no Ethernet", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: guard(0, addrs4, false)}, "WireGuard carries IP", plane.ErrUnsupported},
		{"remote of another family", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VXLAN{Local: addrs4[0], Remote: addrs6[1], LocalPort: 4789, RemotePort: 4789}}, "family", nil},
		{"no remote", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VXLAN{Local: addrs4[0], LocalPort: 4789, RemotePort: 4789}}, "missing", nil},
		{"VNI of 25 bits", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 1<<24, addrs4)}, "24 bits", nil},
		{"no port", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1")}, "port is missing", nil},
		{"two tunnels", plane.Connection{Payload: plane.Ethernet, Client: tunnel(0, 1, addrs4), Endpoint: tunnel(0, 2, addrs4)}, "in a pod only", plane.ErrUnsupported},
		{"unknown kind", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: unknownPort{}}, "SRV6", plane.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.conn.ID = "c1"
			_, err := n.Join(t.Context(), &c.conn)
			if err == nil || !strings.Contains(err.Error(), c.contains) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v", err)
			}
			n.pristine(t, fds, pod)
		})
	}
}

func TestJoinAgain(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	u.kernelVXLAN(t, 1, 42, addrs4, "10.7.0.2/24")
	conn := plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 42, addrs4)}
	if _, err := n.Join(t.Context(), &conn); err != nil {
		t.Fatal(err)
	}
	pod.addr(t, "nsm-1", "10.7.0.1/24")
	pod.ping(t, "10.7.0.2")
	before := pod.link(t, "nsm-1").Attrs()
	counted := n.Links()[0].Client.Counters

	t.Run("the same is a no-op", func(t *testing.T) {
		if _, err := n.Join(t.Context(), &conn); err != nil {
			t.Fatal(err)
		}
		if got := n.Links()[0].Client.Counters; got.RxPackets < counted.RxPackets {
			t.Errorf("counters went from %v to %v", counted, got)
		}
	})
	t.Run("another tunnel leaves the pod its interface", func(t *testing.T) {
		conn.Endpoint = tunnel(0, 43, addrs4)
		if _, err := n.Join(t.Context(), &conn); err != nil {
			t.Fatal(err)
		}
		conn.Endpoint = tunnel(0, 42, addrs4)
		if _, err := n.Join(t.Context(), &conn); err != nil {
			t.Fatal(err)
		}
		if after := pod.link(t, "nsm-1").Attrs(); after.Index != before.Index {
			t.Errorf("interface %d became %d", before.Index, after.Index)
		}
		pod.ping(t, "10.7.0.2")
	})
	t.Run("another MTU is set", func(t *testing.T) {
		conn.MTU = 1300
		link, err := n.Join(t.Context(), &conn)
		if err != nil || link.MTU != 1300 || pod.link(t, "nsm-1").Attrs().MTU != 1300 {
			t.Fatalf("link %+v, %v", link, err)
		}
		pod.ping(t, "10.7.0.2")
	})
	t.Run("another local pod replaces the tunnel", func(t *testing.T) {
		other := newNamespace(t)
		conn.Endpoint = other.port(t, "nse-1")
		link, err := n.Join(t.Context(), &conn)
		if err != nil || link.Path != "veth" {
			t.Fatalf("link %+v, %v", link, err)
		}
		pod.addr(t, "nsm-1", "10.7.0.1/24")
		other.addr(t, "nse-1", "10.7.0.3/24")
		pod.ping(t, "10.7.0.3")
	})
	t.Run("leaving twice is no error", func(t *testing.T) {
		for range 2 {
			if err := n.Leave(t.Context(), "c1"); err != nil {
				t.Fatal(err)
			}
		}
		if links := pod.links(t); len(links) != 0 {
			t.Errorf("interfaces %v", links)
		}
	})
}

// A pair of veth outlives the plane that made it.
func TestVethIsAdopted(t *testing.T) {
	u := newUnderlay(t, 1500)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	conn := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-1"), Endpoint: pods[1].port(t, "nse-1")}
	n := u.start(t, 0, addrs4, nil)
	link, err := n.Join(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if link.MTU != plane.DefaultMTU || link.Path != "veth" {
		t.Errorf("link %+v", link)
	}
	pods[0].addr(t, "nsm-1", "10.7.0.1/24")
	pods[1].addr(t, "nse-1", "10.7.0.2/24")
	pods[0].ping(t, "10.7.0.2")
	before := pods[0].link(t, "nsm-1").Attrs()
	if before.Alias != "test nsm-1" || before.MTU != plane.DefaultMTU {
		t.Errorf("alias %q, MTU %d", before.Alias, before.MTU)
	}

	// As after SIGKILL: the plane forgets, the kernel does not.
	n.links = n.noLinks()
	if _, err := n.Join(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if after := pods[0].link(t, "nsm-1").Attrs(); after.Index != before.Index {
		t.Errorf("interface %d became %d", before.Index, after.Index)
	}
	pods[0].ping(t, "10.7.0.2")
	if c := n.Links()[0].Client.Counters; c.RxPackets == 0 || c.TxPackets == 0 {
		t.Errorf("counters %+v", c)
	}

	// And one whose other end was meant for another pod is replaced.
	n.links = n.noLinks()
	third := newNamespace(t)
	conn.Endpoint = third.port(t, "nse-1")
	if _, err := n.Join(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	pods[0].addr(t, "nsm-1", "10.7.0.1/24")
	third.addr(t, "nse-1", "10.7.0.3/24")
	pods[0].ping(t, "10.7.0.3")
	if links := pods[1].links(t); len(links) != 0 {
		t.Errorf("interfaces %v", links)
	}
}

// Connections come and go without leaving anything.
func TestManyConnections(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	fds := descriptors(t)
	for round := range 2 {
		for i := range 25 {
			_, err := n.Join(context.Background(), &plane.Connection{
				ID: fmt.Sprint(i), Payload: plane.Ethernet,
				Client: pod.port(t, fmt.Sprint("nsm-", i)), Endpoint: tunnel(0, uint32(i), addrs4),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := len(n.Links()); got != 25 {
			t.Fatalf("round %d: %d links", round, got)
		}
		for i := range 25 {
			if err := n.Leave(context.Background(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		n.pristine(t, fds, pod)
	}
}
