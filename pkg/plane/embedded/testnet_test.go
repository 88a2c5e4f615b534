// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// namespace is a network namespace of the test.
type namespace struct {
	path   string
	handle *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and XDP")
	}
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() { // ends locked, and its thread with it
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatalf("make network namespace: %v", r.err)
	}
	n := &namespace{path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.f.Fd())}
	var err error
	if n.handle, err = netns.NetlinkHandle(n.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.handle.Close()
		r.f.Close()
	})
	n.up(t, "lo")
	return n
}

func (n *namespace) do(t testing.TB, f func() error) {
	t.Helper()
	if err := netns.Do(n.path, f); err != nil {
		t.Fatal(err)
	}
}

func (n *namespace) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := n.handle.LinkByName(name)
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	return l
}

func (n *namespace) up(t testing.TB, name string) {
	t.Helper()
	if err := n.handle.LinkSetUp(n.link(t, name)); err != nil {
		t.Fatalf("set %s up: %v", name, err)
	}
}

// addr adds addresses to an interface.
func (n *namespace) addr(t testing.TB, name string, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			t.Fatal(err)
		}
		a.Flags = unix.IFA_F_NODAD
		if err := n.handle.AddrAdd(n.link(t, name), a); err != nil {
			t.Fatalf("add %s to %s: %v", prefix, name, err)
		}
		n.awaitLocal(a.IP)
	}
}

// awaitLocal waits until packets to an IPv6 address are taken in, which is some
// time after it is there. It waits a second at most: the interface may be down.
func (n *namespace) awaitLocal(ip net.IP) {
	for deadline := time.Now().Add(time.Second); ip.To4() == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if routes, err := n.handle.RouteGet(ip); err == nil && routes[0].Type == unix.RTN_LOCAL {
			return
		}
	}
}

// port is a kernel port in this namespace.
func (n *namespace) port(t testing.TB, name string) plane.Kernel {
	t.Helper()
	dev, ino, err := netns.Identity(n.path)
	if err != nil {
		t.Fatal(err)
	}
	return plane.Kernel{NetNS: n.path, Device: dev, Inode: ino, Name: name, Alias: "test " + name}
}

// underlay is two nodes joined by a veth pair, "uplink" in both.
type underlay struct {
	nodes [2]*namespace
	macs  [2][6]byte
}

// Addresses of the two nodes.
var (
	addrs4 = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	addrs6 = [2]netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
)

func newUnderlay(t testing.TB, mtu int) *underlay { return newUnderlayOf(t, mtu, 1) }

// newUnderlayOf makes devices with several queues.
func newUnderlayOf(t testing.TB, mtu, queues int) *underlay {
	t.Helper()
	u := &underlay{nodes: [2]*namespace{newNamespace(t), newNamespace(t)}}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "uplink", mtu
	attrs.NumTxQueues, attrs.NumRxQueues = queues, queues
	dev := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "uplink", PeerMTU: uint32(mtu),
		PeerNumTxQueues: uint32(queues), PeerNumRxQueues: uint32(queues),
	}
	var peer *os.File
	u.nodes[1].do(t, func() (err error) {
		peer, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	defer peer.Close()
	dev.PeerNamespace = netlink.NsFd(int(peer.Fd()))
	if err := u.nodes[0].handle.LinkAdd(dev); err != nil {
		t.Fatalf("add underlay: %v", err)
	}
	for i, n := range u.nodes {
		u.macs[i] = [6]byte(n.link(t, "uplink").Attrs().HardwareAddr)
		n.up(t, "uplink")
		n.addr(t, "uplink", addrs4[i].String()+"/24", addrs6[i].String()+"/64")
	}
	return u
}

// node is an embedded plane on one node of an underlay.
type node struct {
	*Plane
	uplink *uplink.Uplink
	socks  []*xsk.Socket
}

// start attaches a program that sends tunnel packets to AF_XDP, and starts a
// plane with the given tunnel address on node i.
func (u *underlay) start(t testing.TB, i int, addrs [2]netip.Addr, fail func(string) error) *node {
	t.Helper()
	return startNode(t, u.nodes[i], addrs[i], fail)
}

func startNode(t testing.TB, ns *namespace, addr netip.Addr, fail func(string) error) *node {
	t.Helper()
	return startNodeWith(t, ns, addr, attachXDP, fail)
}

// startNodeWith is startNode with another program, which attach returns the
// XSKMAP of.
func startNodeWith(t testing.TB, ns *namespace, addr netip.Addr, attach func(t testing.TB, n *namespace, index int) *ebpf.Map, fail func(string) error) *node {
	t.Helper()
	up, err := uplink.Open(uplink.Config{Tunnel: addr, NetNS: ns.path})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{uplink: up}
	xsks := attach(t, ns, up.Index())
	ns.do(t, func() error {
		for queue := range up.Queues() {
			s, err := xsk.Open(up.Index(), queue, SocketConfig(up.MTU(), up.Queues()))
			if err != nil {
				return err
			}
			n.socks = append(n.socks, s)
			if err := xsks.Update(uint32(queue), uint32(s.FD()), ebpf.UpdateAny); err != nil {
				return err
			}
		}
		return nil
	})
	p, err := New(Config{Uplink: up, Sockets: n.socks, fail: fail})
	if err != nil {
		t.Fatal(err)
	}
	n.Plane = p
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for _, s := range n.socks {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if hops := up.Hops(); len(hops) != 0 {
			t.Errorf("next hops were not released: %v", hops)
		}
		if err := up.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// attachXDP attaches a program that redirects UDP to the ports of tunnels, and
// returns its XSKMAP.
func attachXDP(t testing.TB, n *namespace, index int) *ebpf.Map {
	t.Helper()
	return attachRedirect(t, n, index, 58, asm.Instructions{
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JEq.Imm(asm.R4, be(0x86dd), "v6"),
		asm.JNE.Imm(asm.R4, be(0x0800), "pass"),
		asm.LoadMem(asm.R4, asm.R2, 23, asm.Byte),
		asm.LoadMem(asm.R5, asm.R2, 36, asm.Half),
		asm.Ja.Label("ports"),
		asm.LoadMem(asm.R4, asm.R2, 20, asm.Byte).WithSymbol("v6"),
		asm.LoadMem(asm.R5, asm.R2, 56, asm.Half),
		asm.JNE.Imm(asm.R4, unix.IPPROTO_UDP, "pass").WithSymbol("ports"),
		asm.JEq.Imm(asm.R5, be(4789), "ours"),
		asm.JNE.Imm(asm.R5, be(51820), "pass"),
	})
}

// attachFragments attaches a program that redirects all UDP and all fragments.
func attachFragments(t testing.TB, n *namespace, index int) *ebpf.Map {
	t.Helper()
	return attachRedirect(t, n, index, 24, asm.Instructions{
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.LoadMem(asm.R5, asm.R2, 20, asm.Byte), // next header
		asm.JEq.Imm(asm.R4, be(0x86dd), "v6"),
		asm.LoadMem(asm.R5, asm.R2, 23, asm.Byte), // protocol
		asm.JNE.Imm(asm.R4, be(0x0800), "pass"),
		asm.JEq.Imm(asm.R5, unix.IPPROTO_FRAGMENT, "ours").WithSymbol("v6"),
		asm.JNE.Imm(asm.R5, unix.IPPROTO_UDP, "pass"),
	})
}

// attachRedirect attaches a program that redirects what match falls through for,
// and returns its XSKMAP. match finds the frame, which has at least so many bytes,
// at R2; it must leave R6 alone, and may jump to "ours" and to "pass".
func attachRedirect(t testing.TB, n *namespace, index int, bytes int32, match asm.Instructions) *ebpf.Map {
	t.Helper()
	xsks := newXSKMap(t)
	attachProgram(t, n, index, slices.Concat(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, bytes),
		asm.LoadMem(asm.R6, asm.R1, 16, asm.Word), // rx_queue_index
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
	}, match, asm.Instructions{
		asm.Mov.Reg(asm.R2, asm.R6).WithSymbol("ours"),
		asm.LoadMapPtr(asm.R1, xsks.FD()),
		asm.Mov.Imm(asm.R3, pass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}))
	return xsks
}

const pass = 2 // XDP_PASS

// be is a number as it lies in a packet.
func be(v uint16) int32 {
	return int32(binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)}))
}

func newXSKMap(t testing.TB) *ebpf.Map {
	t.Helper()
	xsks, err := ebpf.NewMap(&ebpf.MapSpec{Name: "xsks_map", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { xsks.Close() })
	return xsks
}

// attachProgram attaches an XDP program until the end of the test.
func attachProgram(t testing.TB, n *namespace, index int, instructions asm.Instructions) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "tunnels", Type: ebpf.XDP, License: "GPL", Instructions: instructions})
	if err != nil {
		t.Fatalf("load XDP program: %v", err)
	}
	defer prog.Close()
	n.do(t, func() error {
		at, err := bpflink.AttachXDP(bpflink.XDPOptions{Program: prog, Interface: index, Flags: bpflink.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { at.Close() })
		}
		return err
	})
}

// kernelVXLAN makes a VXLAN device of Linux on node i.
func (u *underlay) kernelVXLAN(t testing.TB, i int, vni int, addrs [2]netip.Addr, prefixes ...string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "vxlan"
	err := u.nodes[i].handle.LinkAdd(&netlink.Vxlan{
		LinkAttrs: attrs,
		VxlanId:   vni, Port: 4789,
		SrcAddr: addrs[i].AsSlice(), Group: addrs[1-i].AsSlice(),
		Learning: true, UDP6ZeroCSumRx: false,
	})
	if err != nil {
		t.Fatalf("add VXLAN device: %v", err)
	}
	u.nodes[i].up(t, "vxlan")
	u.nodes[i].addr(t, "vxlan", prefixes...)
}

// tunnel is node i's end of a VXLAN tunnel.
func tunnel(i int, vni uint32, addrs [2]netip.Addr) plane.VXLAN {
	return plane.VXLAN{Local: addrs[i], Remote: addrs[1-i], LocalPort: 4789, RemotePort: 4789, VNI: vni}
}

// ping sends echo requests from a namespace until one is answered.
func (n *namespace) ping(t testing.TB, to string) {
	t.Helper()
	var conn net.Conn
	addr := netip.MustParseAddr(to)
	network, kind, answer := "ip4:icmp", byte(8), byte(0)
	if addr.Is6() {
		network, kind, answer = "ip6:ipv6-icmp", 128, 129
	}
	n.do(t, func() (err error) {
		conn, err = net.Dial(network, to)
		return err
	})
	defer conn.Close()
	request := []byte{kind, 0, 0, 0, 0x12, 0x34, 0, 1, 'n', 's', 'm', '!'}
	if addr.Is4() {
		var sum uint32
		for i := 0; i < len(request); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(request[i:]))
		}
		binary.BigEndian.PutUint16(request[2:], ^uint16(sum+sum>>16))
	}
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := conn.Write(request); err != nil {
			t.Logf("ping %s: %v", to, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		reply := make([]byte, 1500)
		for {
			n, err := conn.Read(reply)
			if err != nil {
				break
			}
			got := reply[:n]
			if addr.Is4() { // with the IP header
				got = got[min(n, 20):]
			}
			if len(got) >= len(request) && got[0] == answer && string(got[4:]) == string(request[4:]) {
				return
			}
		}
	}
	t.Fatalf("no echo reply from %s within 5 s", to)
}
