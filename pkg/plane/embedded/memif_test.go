// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

func TestMemifAndVXLAN(t *testing.T) {
	for _, role := range memifRoles {
		t.Run(role.name, func(t *testing.T) {
			u := newUnderlay(t, 1500)
			n := u.start(t, 0, addrs4, nil)
			u.kernelVXLAN(t, 1, 7, addrs4, "10.7.0.2/24")
			pod := newNamespace(t)
			port := pod.memif(t, "c1", role.master)
			link, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, 7, addrs4)})
			if err != nil {
				t.Fatal(err)
			}
			if link.Path != "embedded" || link.MTU != 1450 {
				t.Errorf("link %+v", link)
			}
			far := u.nodes[1].tap(t, "vxlan")
			lost := inner(200, 7)
			for range 3 { // Nobody is there: it is counted.
				far.send(t, lost)
			}
			n.eventually(t, "drops", func() bool { return n.Links()[0].Client.Counters.Drops >= 3 })

			p := startProgram(t, port, memif.Config{RxRings: 2, TxRings: 2})
			for round := range 3 { // It comes and goes.
				p.connect(t)
				out, in := inner(100+round, 1), inner(1400+round, 2)
				p.send(t, out)
				far.await(t, "the packet of the pod", is(out))
				far.send(t, in)
				p.await(t, "the packet for the pod", is(in))
				p.leave()
			}
			c := n.Links()[0].Client.Counters
			if c.RxPackets != 3 || c.RxBytes != 3*115 || c.TxPackets < 3 {
				t.Errorf("counters %+v", c)
			}
		})
	}
}

// A pod's answer to a packet that is too big is ICMP, whatever is at the other end.
func TestMemifTooBig(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod, other := newNamespace(t), newNamespace(t)
	for _, c := range []struct {
		name string
		end  plane.Port
		mtu  int
	}{
		{"VXLAN", tunnel(0, 7, addrs4), 1450},
		{"VXLAN with less", tunnel(0, 8, addrs4), 1400},
		{"kernel", other.port(t, "nse-1"), 8000},
		{"memif", other.memif(t, "other", true), 8000},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := pod.memif(t, c.name, true)
			if _, err := n.Join(t.Context(), &plane.Connection{
				ID: c.name, Payload: plane.Ethernet, MTU: c.mtu, Client: port, Endpoint: c.end,
			}); err != nil {
				t.Fatal(err)
			}
			p := startProgram(t, port, memif.Config{}).connect(t)
			for _, size := range []int{c.mtu + 1, 9100, 20000} {
				p.send(t, inner(size, 1))
				answer := p.await(t, "ICMP", func(f []byte) bool { return len(f) > 42 && f[14+9] == 1 })
				icmp := answer[34:]
				if icmp[0] != 3 || icmp[1] != 4 || int(binary.BigEndian.Uint16(icmp[6:])) != c.mtu {
					t.Errorf("packet of %d: ICMP %x", size, icmp[:8])
				}
			}
			drops := uint64(3)
			n.eventually(t, "drops", func() bool {
				for _, l := range n.Links() {
					if l.ID == c.name {
						return l.Client.Counters.Drops+l.Endpoint.Counters.Drops >= drops
					}
				}
				return false
			})
		})
	}
}

// Large packets pass locally, in both directions, whole.
func TestMemifAndKernel(t *testing.T) {
	for _, role := range memifRoles {
		for _, payload := range []plane.Payload{plane.Ethernet, plane.IP} {
			t.Run(fmt.Sprintf("%s/%s", role.name, payload), func(t *testing.T) {
				u := newUnderlay(t, 1500)
				n := u.start(t, 0, addrs4, nil)
				pods := [2]*namespace{newNamespace(t), newNamespace(t)}
				port := pods[0].memif(t, "c1", role.master)
				link, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: payload, Client: port, Endpoint: pods[1].port(t, "nse-1")})
				if err != nil {
					t.Fatal(err)
				}
				if link.MTU != plane.DefaultMTU {
					t.Errorf("MTU %d", link.MTU)
				}
				cfg, off := memif.Config{}, 0
				if payload == plane.IP {
					cfg.Mode, off = memif.IP, 14
				}
				p := startProgram(t, port, cfg).connect(t)
				device := pods[1].tap(t, "nse-1")
				for _, size := range []int{28, 1500, 1920, 1921, 2048, 4000, 9000} {
					f := inner(size, uint16(size))[off:]
					p.send(t, f)
					device.await(t, fmt.Sprint("from the pod, ", size), is(f))
					f = inner(size, uint16(size+1))[off:]
					device.send(t, f)
					p.await(t, fmt.Sprint("to the pod, ", size), is(f))
				}
			})
		}
	}
}

// Two memifs are joined by the workers if both ends listen, or both dial.
func TestMemifAndMemif(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	for _, role := range memifRoles {
		t.Run(role.name, func(t *testing.T) {
			pods := [2]*namespace{newNamespace(t), newNamespace(t)}
			ports := [2]plane.Memif{pods[0].memif(t, "c1", role.master), pods[1].memif(t, "c2", role.master)}
			link, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: ports[0], Endpoint: ports[1]})
			if err != nil {
				t.Fatal(err)
			}
			if link.Path != "embedded" {
				t.Errorf("path %s", link.Path)
			}
			var programs [2]*program
			for i := range programs {
				programs[i] = startProgram(t, ports[i], memif.Config{RxRings: 1 + i, TxRings: 1 + i})
			}
			var both sync.WaitGroup
			for i := range programs {
				both.Go(func() { programs[i].connect(t) })
			}
			both.Wait()
			for _, size := range []int{46, 1500, 9000} {
				for i := range programs {
					f := inner(size, uint16(i))
					programs[i].send(t, f)
					programs[1-i].await(t, "packet", is(f))
				}
			}
			l := n.Links()[0]
			if c, e := l.Client.Counters, l.Endpoint.Counters; c.RxPackets != 3 || c.TxPackets != 3 || c.RxBytes != e.TxBytes || c.TxBytes != e.RxBytes || c.Drops+e.Drops != 0 {
				t.Errorf("counters %+v, %+v", c, e)
			}
		})
	}
}

func TestMemifAndWireGuard(t *testing.T) {
	u := newUnderlay(t, 1500)
	nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	port := pods[1].memif(t, "c1", true)
	clients := [2]plane.Port{pods[0].port(t, "nsm-1"), port}
	for _, i := range []int{1, 0} { // whoever initiates comes last
		if _, err := nodes[i].Join(t.Context(), &plane.Connection{
			ID: "c1", Payload: plane.IP, Client: clients[i], Endpoint: guard(i, addrs4, i == 0),
		}); err != nil {
			t.Fatal(err)
		}
	}
	device := pods[0].tap(t, "nsm-1")
	p := startProgram(t, port, memif.Config{Mode: memif.IP, RxRings: 4, TxRings: 4})
	for round := range 3 { // The program comes and goes.
		p.connect(t)
		if rings := len(p.conn.Rx()); rings != 1 {
			t.Errorf("%d rings", rings)
		}
		for _, size := range []int{28, 1000 + round, 1440} {
			f := inner(size, uint16(size))[14:]
			p.send(t, f)
			device.await(t, fmt.Sprint("from the memif, ", size), is(f))
			device.send(t, f)
			p.await(t, fmt.Sprint("to the memif, ", size), is(f))
		}
		p.send(t, inner(1441, 1)[14:])
		answer := p.await(t, "ICMP", func(f []byte) bool { return len(f) > 28 && f[9] == 1 })
		if icmp := answer[20:]; icmp[0] != 3 || icmp[1] != 4 || binary.BigEndian.Uint16(icmp[6:]) != 1440 {
			t.Errorf("ICMP %x", icmp[:8])
		}
		p.leave()
	}
	c := nodes[1].Links()[0].Client.Counters
	if c.RxPackets != 12 || c.TxPackets < 12 || c.Drops < 3 {
		t.Errorf("counters %+v", c)
	}
}

// A slave and a master on one node share memory, and the plane carries nothing.
func TestDirectMemif(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	for name, masters := range map[string][2]bool{"client dials": {true, false}, "client listens": {false, true}} {
		t.Run(name, func(t *testing.T) {
			fds := descriptors(t)
			ports := [2]plane.Memif{pods[0].memif(t, "c1", masters[0]), pods[1].memif(t, "c2", masters[1])}
			conn := &plane.Connection{ID: "c1", Payload: plane.IP, Client: ports[0], Endpoint: ports[1]}
			link, err := n.Join(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			if link.Path != "direct memif" {
				t.Errorf("path %s", link.Path)
			}

			if _, err := n.Join(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			var programs [2]*program
			for i := range programs {
				programs[i] = startProgram(t, ports[i], memif.Config{Mode: memif.IP, RxRings: 3, TxRings: 3})
			}
			for range 2 {
				var both sync.WaitGroup
				for i := range programs {
					both.Go(func() { programs[i].connect(t) })
				}
				both.Wait()
				for i := range programs {
					f := inner(9000, uint16(i))[14:]
					programs[i].send(t, f)
					programs[1-i].await(t, "packet", is(f))
				}
				programs[0].leave()
				<-programs[1].conn.Done()
				programs[1].leave()
			}
			if l := n.Links()[0]; l.Client.Counters != (plane.Counters{}) || l.Endpoint.Counters != (plane.Counters{}) {
				t.Errorf("counters of what the plane has not carried: %+v", l)
			}
			for _, p := range programs {
				p.close()
			}
			if err := n.Leave(t.Context(), "c1"); err != nil {
				t.Fatal(err)
			}
			n.pristine(t, fds, pods[:]...)
		})
	}
}

// A pod's program notices nothing when the tunnel or the MTU becomes another one.
func TestMemifIsKept(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	u.kernelVXLAN(t, 1, 42, addrs4, "10.7.0.2/24")
	pod := newNamespace(t)
	port := pod.memif(t, "c1", true)
	conn := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: port, Endpoint: tunnel(0, 42, addrs4)}
	join := func() plane.Link {
		t.Helper()
		link, err := n.Join(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	join()
	p := startProgram(t, port, memif.Config{}).connect(t)
	far := u.nodes[1].tap(t, "vxlan")
	both := func() {
		t.Helper()
		f := inner(500, 1)
		p.send(t, f)
		far.await(t, "the pod's packet", is(f))
		far.send(t, f)
		p.await(t, "the packet for the pod", is(f))
		if err := p.conn.Err(); err != nil {
			t.Fatal(err)
		}
	}
	both()
	counted := n.Links()[0].Client.Counters

	same := port
	same.NetNS = fmt.Sprintf("/proc/self%s", port.NetNS[len("/proc/")+len(fmt.Sprint(os.Getpid())):])
	conn.Client = same
	if got := join().Client.Counters; got.RxPackets < counted.RxPackets {
		t.Errorf("counters went from %+v to %+v", counted, got)
	}
	conn.Client = port
	conn.Endpoint = tunnel(0, 43, addrs4)
	join()
	conn.Endpoint = tunnel(0, 42, addrs4)
	join()
	both()
	conn.MTU = 1300
	if link := join(); link.MTU != 1300 || link.Client.Counters.RxPackets != counted.RxPackets+1 {
		t.Errorf("link %+v, before %+v", link, counted)
	}
	both()
	p.send(t, inner(1301, 1))
	p.await(t, "ICMP", func(f []byte) bool { return len(f) > 42 && f[14+9] == 1 && binary.BigEndian.Uint16(f[40:]) == 1300 })

	conn.Payload, conn.Endpoint, conn.MTU = plane.IP, pod.port(t, "nse-1"), 0 // another mode needs another connection
	join()
	select {
	case <-p.conn.Done():
	case <-time.After(5 * time.Second):
		t.Error("the program still has its connection")
	}
}

// What a pod's kernel leaves to its device is done when it comes out of a memif:
// a program expects right checksums, and packets of no more than the MTU.
func TestMemifGetsFinishedPackets(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	port := pods[0].memif(t, "c1", true)
	if _, err := n.Join(t.Context(), &plane.Connection{ID: "c1", Payload: plane.IP, Client: port, Endpoint: pods[1].port(t, "nse-1")}); err != nil {
		t.Fatal(err)
	}
	pods[1].addr(t, "nse-1", "10.7.0.2/24", "fd07::2/64")
	p := startProgram(t, port, memif.Config{Mode: memif.IP}).connect(t)
	n.withPeers(t, "c1")
	for _, to := range []string{"10.7.0.1", "fd07::1"} {
		for _, c := range []struct{ payload, segment int }{{1, 0}, {1000, 0}, {1893, 0}, {4001, 0}, {8900, 0}, {10_000, 1000}, {30_001, 8900}} {
			t.Run(fmt.Sprintf("%s/%d bytes by %d", to, c.payload, c.segment), func(t *testing.T) {
				conn := pods[1].dialUDP(t, &net.UDPAddr{IP: net.ParseIP(to), Port: 9}, to == "10.7.0.1")
				var oob []byte
				if c.segment > 0 {
					oob = make([]byte, unix.CmsgSpace(2))
					binary.NativeEndian.PutUint64(oob, uint64(unix.CmsgLen(2)))
					binary.NativeEndian.PutUint32(oob[8:], unix.SOL_UDP)
					binary.NativeEndian.PutUint32(oob[12:], unix.UDP_SEGMENT)
					binary.NativeEndian.PutUint16(oob[16:], uint16(c.segment))
				}
				payload := pattern[c.payload : 2*c.payload]
				if _, _, err := conn.WriteMsgUDP(payload, oob, nil); err != nil {
					t.Fatal(err)
				}
				p.await(t, "all of it", func(got []byte) bool {
					want := payload
					if c.segment > 0 {
						want = want[:min(len(want), c.segment)]
					}
					if !bytes.HasSuffix(got, want) {
						return false // the kernel says hello
					}
					if !checksumIsRight(got) || len(got) > plane.DefaultMTU {
						t.Errorf("packet of %d bytes: %x", len(got), got[:min(len(got), 48)])
					}
					payload = payload[len(want):]
					return len(payload) == 0
				})
			})
		}
	}
}

// checksumIsRight sums a UDP packet up.
func checksumIsRight(ip []byte) bool {
	addrs, udp := ip[12:20], ip[20:]
	if ip[0]>>4 == 6 {
		addrs, udp = ip[8:40], ip[40:]
	}
	sum := unix.IPPROTO_UDP + uint32(len(udp))
	for _, b := range [][]byte{addrs, udp} {
		for i := range b {
			sum += uint32(b[i]) << (8 * (1 - i%2))
			sum = sum&0xffff + sum>>16
		}
	}
	return sum == 0xffff && binary.BigEndian.Uint16(udp[6:]) != 0
}
