// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// tap is a packet socket on an interface, for looking and for forging.
type tap int

func (n *namespace) tap(t testing.TB, name string) tap {
	t.Helper()
	var fd int
	n.do(t, func() (err error) {
		const all = 0x0300 // ETH_P_ALL in network order
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: n.link(t, name).Attrs().Index})
	})
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	return tap(fd)
}

func (p tap) send(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := unix.Write(int(p), frame); err != nil {
		t.Fatal(err)
	}
}

// await returns the first frame that f accepts.
func (p tap) await(t testing.TB, what string, f func(frame []byte) bool) []byte {
	t.Helper()
	buf := make([]byte, 1<<16)
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		n, err := unix.Read(int(p), buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f(buf[:n]) {
			return bytes.Clone(buf[:n])
		}
	}
	t.Fatalf("no frame within 5 s: %s", what)
	return nil
}

// inner is a frame with an IPv4 UDP packet of the given IP length.
func inner(ipLen int, source uint16) []byte {
	f := make([]byte, 14+ipLen)
	copy(f, []byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0})
	ip := f[14:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(ipLen))
	ip[6], ip[8], ip[9] = 0x40, 64, 17
	copy(ip[12:], []byte{10, 7, 0, 1})
	copy(ip[16:], []byte{10, 7, 0, 2})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(ip[20:], source)
	binary.BigEndian.PutUint16(ip[22:], 9)
	binary.BigEndian.PutUint16(ip[24:], uint16(ipLen-20))
	return f
}

// settled waits until the node's counters satisfy a condition.
func (n *node) eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s; links %+v", what, n.Links())
		}
	}
}

// Frames on the wire are those of RFC 7348.
func TestFramesOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs [2]netip.Addr
	}{{"IPv4", addrs4}, {"IPv6", addrs6}} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t, 1500)
			n := u.start(t, 0, c.addrs, nil)
			pod := newNamespace(t)
			if _, err := n.Join(t.Context(), &plane.Connection{
				ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 0xabcdef, c.addrs),
			}); err != nil {
				t.Fatal(err)
			}
			n.eventually(t, "next hop", func() bool { return n.uplink.Hops()[0].Valid })
			wire := u.nodes[1].tap(t, "uplink")
			sent := inner(100, 1234)
			pod.tap(t, "nsm-1").send(t, sent)
			frame := wire.await(t, "the frame", func(f []byte) bool { return bytes.HasSuffix(f, sent) })

			var d packet.Datagram
			if r := d.ParseDatagram(frame); r != packet.OK {
				t.Fatalf("%v: % x", r, frame)
			}
			if [6]byte(frame[:6]) != u.macs[1] || [6]byte(frame[6:12]) != u.macs[0] {
				t.Errorf("MAC addresses % x", frame[:12])
			}
			if d.Source.Netip() != c.addrs[0] || d.Destination.Netip() != c.addrs[1] {
				t.Errorf("from %s to %s", d.Source.Netip(), d.Destination.Netip())
			}
			if d.DestinationPort != 4789 || d.SourcePort < 49152 {
				t.Errorf("ports %d, %d", d.SourcePort, d.DestinationPort)
			}
			if vni, r := packet.ParseVXLAN(frame[d.Start:d.End]); vni != 0xabcdef || r != packet.OK {
				t.Errorf("VNI %#x, %v", vni, r)
			}
			if want := []byte{8, 0, 0, 0, 0xab, 0xcd, 0xef, 0}; !bytes.Equal(frame[d.Start:d.Start+8], want) {
				t.Errorf("VXLAN header % x, want % x", frame[d.Start:d.Start+8], want)
			}
			ip, udp := frame[14:], frame[d.Start-8:]
			checksum := binary.BigEndian.Uint16(udp[6:])
			if c.addrs[0].Is4() {
				if ip[1] != 0 || ip[6] != 0x40 || ip[8] != 64 {
					t.Errorf("TOS %#x, flags %#x, TTL %d", ip[1], ip[6], ip[8])
				}
				if checksum != 0 {
					t.Errorf("UDP checksum %#x over IPv4", checksum)
				}
			} else if checksum == 0 || ip[7] != 64 {
				t.Errorf("UDP checksum %#x over IPv6, hop limit %d", checksum, ip[7])
			}
			if got, want := len(frame), len(sent)+d.Start+8; got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}

			// Another flow, another source port; the same flow, the same.
			ports := map[uint16]bool{d.SourcePort: true}
			for i := range 8 {
				sent := inner(100, uint16(2000+i))
				pod.tap(t, "nsm-1").send(t, sent)
				frame := wire.await(t, "another flow", func(f []byte) bool { return bytes.HasSuffix(f, sent) })
				_ = d.ParseDatagram(frame)
				ports[d.SourcePort] = true
			}
			if len(ports) < 7 {
				t.Errorf("9 flows have %d source ports", len(ports))
			}
		})
	}
}

// forge is a VXLAN packet as the other node would send it.
func (u *underlay) forge(payload []byte, vni uint32, change func(*packet.Underlay)) []byte {
	h := packet.Underlay{
		Destination: u.macs[0], Source: u.macs[1],
		Local: netip.AddrPortFrom(addrs4[1], 50000), Remote: netip.AddrPortFrom(addrs4[0], 4789),
	}
	if change != nil {
		change(&h)
	}
	o := packet.NewVXLAN(h, vni)
	f := make([]byte, o.Len()+len(payload))
	copy(f[o.Len():], payload)
	o.Stamp(f, 0)
	return f
}

// What is not a tunnel's goes no further, and is counted by reason.
func TestBadFramesAreDropped(t *testing.T) {
	u := newUnderlay(t, 1500)
	n := u.start(t, 0, addrs4, nil)
	pod := newNamespace(t)
	if _, err := n.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, 7, addrs4),
	}); err != nil {
		t.Fatal(err)
	}
	wire := u.nodes[1].tap(t, "uplink")
	inPod := pod.tap(t, "nsm-1")
	good := u.forge(inner(100, 1), 7, nil)
	change := func(at int, v byte) []byte {
		f := bytes.Clone(good)
		f[at] = v
		return f
	}
	// fix makes the IP header's checksum right again.
	fix := func(f []byte) []byte {
		clear(f[24:26])
		packet.Sum(0).Add(f[14:34]).Put(f[24:])
		return f
	}
	for _, c := range []struct {
		name   string
		frame  []byte
		reason packet.Reason
	}{
		{"another VNI", u.forge(inner(100, 1), 8, nil), dropUnknown},
		{"another node's", u.forge(inner(100, 1), 7, func(h *packet.Underlay) {
			h.Local = netip.MustParseAddrPort("192.0.2.99:50000")
		}), dropStranger},
		{"another address of ours", u.forge(inner(100, 1), 7, func(h *packet.Underlay) {
			h.Remote = netip.MustParseAddrPort("192.0.2.77:4789")
		}), dropUnknown},
		{"no VNI flag", change(42, 0), packet.BadVXLAN},
		{"IP checksum", change(24, good[24]^1), packet.BadHeader},
		{"UDP checksum", change(40, 0x12), packet.BadChecksum},
		{"UDP longer than IP", change(39, 0xff), packet.BadLength},
		{"UDP shorter than its header", change(39, 7), packet.BadLength},
		{"IP longer than the frame", fix(change(17, 0xff)), packet.BadLength},
		{"more fragments", fix(change(20, 0x20)), packet.Fragment},
		{"VXLAN without frame", u.forge(make([]byte, 13), 7, nil), packet.Short},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := n.workers[0]
			before := w.drops[c.reason].Load()
			received := n.Links()[0].Endpoint.Counters.RxPackets
			wire.send(t, c.frame)
			n.eventually(t, "drop "+fmt.Sprint(c.reason), func() bool { return w.drops[c.reason].Load() > before })
			if got := n.Links()[0].Endpoint.Counters.RxPackets; got != received {
				t.Errorf("%d packets were let through", got-received)
			}
		})
	}
	// And after all that, a good one.
	wire.send(t, good)
	inPod.await(t, "the good frame", func(f []byte) bool { return bytes.Equal(f, inner(100, 1)) })
}

// Packets of the exact MTU pass; of one more byte, the pod is told.
func TestMTUIsExact(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload plane.Payload
		addrs   [2]netip.Addr
		link    int
		mtu     int
	}{
		{"VXLAN", plane.Ethernet, addrs4, 1500, 1450},
		{"WireGuard", plane.IP, addrs4, 1500, 1440},
		{"VXLAN in fragments", plane.Ethernet, addrs4, 1280, 1284},
		{"VXLAN in fragments of IPv6", plane.Ethernet, addrs6, 1280, 1284},
		{"VXLAN, just in fragments", plane.Ethernet, addrs4, 1333, 1284},
		{"VXLAN, just in one piece", plane.Ethernet, addrs4, 1334, 1284},
		{"WireGuard in fragments", plane.IP, addrs4, 1280, 1280},
		{"WireGuard in fragments of IPv6", plane.IP, addrs6, 1280, 1280},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t, c.link)
			var nodes [2]*node
			for i := range nodes {
				nodes[i] = startNodeWith(t, u.nodes[i], c.addrs[i], attachFragments, nil)
			}
			var pods [2]*namespace
			if c.payload == plane.IP {
				pods = u.guarded(t, nodes, c.addrs, c.mtu)
			} else {
				pods = u.pods(t, nodes, c.addrs)
			}
			pods[0].ping(t, "10.7.0.2")
			pods[0].ping(t, "fd07::2")
			// A pod that does not know its MTU.
			if err := pods[0].handle.LinkSetMTU(pods[0].link(t, "nsm-1"), 9000); err != nil {
				t.Fatal(err)
			}
			for _, to := range []struct {
				addr     string
				overhead int
			}{{"10.7.0.2", 28}, {"fd07::2", 48}} {
				echo := pods[1].echo(t, to.addr)
				conn := pods[0].dialUDP(t, echo, to.addr == "10.7.0.2")
				exact := make([]byte, c.mtu-to.overhead)
				if err := roundTrip(conn, exact); err != nil {
					t.Errorf("%s, exact: %v", to.addr, err)
				}
				if err := roundTrip(conn, append(exact, 0)); !errors.Is(err, unix.EMSGSIZE) {
					t.Errorf("%s, one byte more: error %v, want EMSGSIZE", to.addr, err)
				}
				if err := roundTrip(conn, exact); err != nil {
					t.Errorf("%s, exact again: %v", to.addr, err)
				}
			}
			// TCP finds out by itself.
			stream(t, pods[0], pods[1], "10.7.0.2", 4<<20)
			stream(t, pods[1], pods[0], "fd07::1", 4<<20)
			for _, n := range nodes {
				for reason, dropped := range n.Drops() {
					if strings.HasPrefix(reason, "fragment") && dropped > 0 {
						t.Errorf("%d dropped: %s", dropped, reason)
					}
				}
			}
		})
	}
}

// echo returns UDP packets to their sender.
func (n *namespace) echo(t testing.TB, addr string) *net.UDPAddr {
	t.Helper()
	var conn net.PacketConn
	n.do(t, func() (err error) {
		conn, err = net.ListenPacket("udp", net.JoinHostPort(addr, "0"))
		return err
	})
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr)
}

// dialUDP dials with path MTU discovery, so that packets are not fragmented.
func (n *namespace) dialUDP(t testing.TB, to *net.UDPAddr, v4 bool) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	n.do(t, func() (err error) {
		if conn, err = net.DialUDP("udp", nil, to); err != nil {
			return err
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		return errors.Join(raw.Control(func(fd uintptr) {
			if v4 {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
			} else {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1))
			}
		}), err)
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func roundTrip(conn *net.UDPConn, payload []byte) error {
	if _, err := conn.Write(payload); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err == nil && n != len(payload) {
		err = fmt.Errorf("%d bytes came back of %d", n, len(payload))
	}
	return err
}

// On a jumbo uplink packets are as large as a UMEM frame, and no larger.
func TestJumboUplink(t *testing.T) {
	u := newUnderlay(t, 3400) // the most that XDP on a veth takes without fragments
	nodes := [2]*node{u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)}
	if got := nodes[0].mtu; got != 3400 {
		t.Errorf("underlay MTU %d", got)
	}
	pods := u.pods(t, nodes, addrs4)
	if got := pods[0].link(t, "nsm-1").Attrs().MTU; got != 3350 {
		t.Errorf("MTU %d, want 3350", got)
	}
	conn := pods[0].dialUDP(t, pods[1].echo(t, "10.7.0.2"), true)
	pods[0].ping(t, "10.7.0.2")
	if err := roundTrip(conn, make([]byte, 3350-28)); err != nil {
		t.Error(err)
	}
	stream(t, pods[0], pods[1], "10.7.0.2", 32<<20)
	for mtu, want := range map[int]int{1500: 1500, 3818: 3818, 9000: 3818} {
		if got := UnderlayMTU(mtu); got != want {
			t.Errorf("of MTU %d, %d can be used, want %d", mtu, got, want)
		}
	}
}

func TestSocketConfig(t *testing.T) {
	for _, c := range []struct{ mtu, queues, frame, mib int }{
		{1500, 1, 2048, 12}, {1500, 2, 2048, 24}, {1500, 4, 2048, 24}, {1500, 8, 2048, 24},
		{9000, 1, 4096, 24}, {9000, 2, 4096, 24}, {9000, 4, 4096, 24},
	} {
		s := SocketConfig(c.mtu, c.queues)
		mib := c.queues * (s.FillSize + s.TxSize) * s.FrameSize >> 20
		if s.FrameSize != c.frame || mib != c.mib {
			t.Errorf("MTU %d, %d queues: frames of %d, %d MiB, want %d and %d", c.mtu, c.queues, s.FrameSize, mib, c.frame, c.mib)
		}
	}
}
