// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
)

// datagram number i of a test, of size bytes.
func datagram(i, size int) []byte {
	b := make([]byte, size)
	copy(b, pattern[i*131:])
	if size >= 4 {
		binary.BigEndian.PutUint32(b, uint32(i))
	}
	return b
}

// udpPair is a socket in each of two namespaces, the first connected to the
// second, which takes trains whole if gro is set.
func udpPair(t *testing.T, from, to *namespace, addr string, gro bool) (send, receive *net.UDPConn) {
	t.Helper()
	to.do(t, func() (err error) {
		receive, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
		return err
	})
	t.Cleanup(func() { receive.Close() })
	option(t, receive, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	if gro {
		option(t, receive, unix.SOL_UDP, unix.UDP_GRO, 1)
	}
	from.do(t, func() error {
		c, err := net.Dial("udp", receive.LocalAddr().String())
		if err == nil {
			send = c.(*net.UDPConn)
		}
		return err
	})
	t.Cleanup(func() { send.Close() })
	return send, receive
}

func option(t *testing.T, c *net.UDPConn, level, name, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, name, value) }); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// control is a control message with one number of type T.
func control[T uint16 | int32](t *testing.T, b []byte, kind int32) (v T, ok bool) {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_UDP && m.Header.Type == kind {
			_, err := binary.Decode(m.Data, binary.NativeEndian, &v)
			return v, err == nil
		}
	}
	return 0, false
}

// burst sends datagrams of the given sizes in one system call per run of equal
// sizes (UDP_SEGMENT), so that they come to the other node as a burst.
func burst(t *testing.T, c *net.UDPConn, first int, sizes []int) {
	t.Helper()
	for i := 0; i < len(sizes); {
		var b []byte
		j := i
		for ; j < len(sizes) && j-i < 40 && sizes[j] == sizes[i]; j++ {
			b = append(b, datagram(first+j, sizes[j])...)
		}
		oob := make([]byte, unix.CmsgSpace(2))
		binary.NativeEndian.PutUint64(oob, uint64(unix.CmsgLen(2)))
		binary.NativeEndian.PutUint32(oob[8:], unix.SOL_UDP)
		binary.NativeEndian.PutUint32(oob[12:], unix.UDP_SEGMENT)
		binary.NativeEndian.PutUint16(oob[16:], uint16(sizes[i]))
		if len(b) == sizes[i] {
			oob = nil
		}
		if _, _, err := c.WriteMsgUDP(b, oob, nil); err != nil {
			t.Fatalf("send %d datagrams of %d bytes: %v", j-i, sizes[i], err)
		}
		i = j
	}
}

// arrive reads the datagrams that burst has sent and compares them, and returns
// the most that came as one train.
func arrive(t *testing.T, c *net.UDPConn, first int, sizes []int) (most int) {
	t.Helper()
	buf, oob := make([]byte, 1<<16), make([]byte, 64)
	for i := 0; i < len(sizes); {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, oobn, _, _, err := c.ReadMsgUDP(buf, oob)
		if err != nil {
			t.Fatalf("datagram %d of %d: %v", i, len(sizes), err)
		}
		size := n
		if s, ok := control[int32](t, oob[:oobn], unix.UDP_GRO); ok {
			size = int(s)
		}
		train := 0
		for b := buf[:n]; train == 0 || len(b) > 0; train++ {
			k := min(size, len(b))
			if i == len(sizes) {
				t.Fatalf("%d bytes more than were sent", len(b))
			}
			if want := datagram(first+i, sizes[i]); !bytes.Equal(b[:k], want) {
				t.Fatalf("datagram %d has %d bytes, want %d that differ", i, k, len(want))
			}
			b = b[k:]
			i++
		}
		most = max(most, train)
	}
	return most
}

// repeat is n times size.
func repeat(n, size int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

// behind makes a namespace behind a pod, which forwards to it, and has the other
// pod know the way. Its addresses are 10.8.0.2 and fd08::2.
func behind(t *testing.T, pods [2]*namespace) *namespace {
	t.Helper()
	n := newNamespace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "behind"
	var f *os.File
	n.do(t, func() (err error) {
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	defer f.Close()
	if err := pods[1].handle.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.Fd()))}); err != nil {
		t.Fatal(err)
	}
	// The pod's kernel has to split what is larger, trains among it. Kernels with
	// longer headers to reserve take no less.
	if err := pods[1].handle.LinkSetGSOMaxSize(pods[1].link(t, "behind"), 400); err != nil {
		t.Fatal(err)
	}
	pods[1].up(t, "behind")
	n.up(t, "eth0")
	pods[1].addr(t, "behind", "10.8.0.1/24", "fd08::1/64")
	n.addr(t, "eth0", "10.8.0.2/24", "fd08::2/64")
	pods[1].do(t, func() error {
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	route := func(ns *namespace, link, to, via string) {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := ns.handle.RouteAdd(&netlink.Route{LinkIndex: ns.link(t, link).Attrs().Index, Dst: dst, Gw: net.ParseIP(via)}); err != nil {
			t.Fatalf("add route to %s: %v", to, err)
		}
	}
	route(pods[0], "nsm-1", "10.8.0.0/24", "10.7.0.2")
	route(pods[0], "nsm-1", "fd08::/64", "fd07::2")
	route(n, "eth0", "10.7.0.0/24", "10.8.0.1")
	route(n, "eth0", "fd07::/64", "fd08::1")
	return n
}

// takesTrains tells whether a pod's kernel takes trains of datagrams from TUN
// devices, as Linux does since 6.2.
func takesTrains(t *testing.T, pod *namespace) bool {
	t.Helper()
	d := tun.Device{NetNS: pod.path, Name: "probe", Link: packet.IP, MTU: 1500}
	fd, err := d.Open(func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return tun.Trains(fd)
}

// Trains are the forwarder's own affair: whoever has not asked for them gets every
// datagram by itself, as it was sent and in order, also behind the pod.
func TestDatagramsArriveOneByOne(t *testing.T) {
	bursts := map[string][]int{
		"tiny":             repeat(40, 1),
		"small":            repeat(40, 22),
		"large":            repeat(40, 1300),
		"shorter one last": append(repeat(20, 700), 699),
		"all sizes":        {0, 1, 1, 500, 500, 500, 499, 500, 500, 0, 500, 1300, 1300, 2, 2, 2, 2, 1},
	}
	for _, over := range []string{"VXLAN", "WireGuard"} {
		t.Run(over, func(t *testing.T) {
			u := newUnderlay(t, 1500)
			nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
			var pods [2]*namespace
			if over == "VXLAN" {
				pods = u.pods(t, nodes, addrs4)
			} else {
				pods = u.guarded(t, nodes, addrs4, 1440)
			}
			last := behind(t, pods)
			for _, c := range []struct {
				to     *namespace
				addrs  [2]string
				behind bool
			}{{pods[1], [2]string{"10.7.0.2", "fd07::2"}, false}, {last, [2]string{"10.8.0.2", "fd08::2"}, true}} {
				for _, addr := range c.addrs {
					pods[0].ping(t, addr)
					for _, gro := range []bool{false, true} {
						send, receive := udpPair(t, pods[0], c.to, addr, gro)
						most := 0
						for round := range 4 {
							for name, sizes := range bursts {
								first := round * 100
								burst(t, send, first, sizes)
								got := arrive(t, receive, first, sizes)
								if most = max(most, got); got > 1 && !gro {
									t.Fatalf("%s, %s: %d datagrams as one", addr, name, got)
								}
								if got > 1 && c.behind && name == "large" {
									t.Fatalf("%s: the pod's kernel did not split a train of %d", addr, got)
								}
							}
						}
						if gro && !c.behind && most < 2 && takesTrains(t, c.to) {
							t.Errorf("%s: no train arrived, so nothing of this was tested", addr)
						}
						t.Logf("%s, UDP_GRO %v: trains of up to %d datagrams", addr, gro, most)
					}
				}
			}
		})
	}
}
