// SPDX-License-Identifier: Apache-2.0

package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// etherType marks the tests' frames (IEEE 802 local experimental), so that the
// kernel's own packets on a link do not disturb.
const etherType = 0x88b5

// netns puts the test into a network and mount namespace of its own. Its thread
// ends with the test, and the namespaces with it. Subtests call enter to be in
// the same network namespace.
func netns(t testing.TB) (enter func(testing.TB)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces and XDP")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		t.Fatalf("make namespaces: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(t testing.TB) {
		t.Helper()
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			t.Fatalf("enter network namespace: %v", err)
		}
	}
}

// device is one end of a veth pair, with an XDP program that redirects the
// tests' frames to the sockets in xsks.
type device struct {
	link  netlink.Link
	index int
	xsks  *ebpf.Map

	detach func() // the program
}

type pairOptions struct {
	queues, mtu int
	frags       bool // of the XDP program
	all         bool // redirect all frames, not only the tests' own
}

// pair makes two devices joined to each other in the current namespace.
func pair(t testing.TB, name string, o pairOptions) (a, b *device) {
	t.Helper()
	addPair(t, name, o)
	return newDevice(t, name+"a", o), newDevice(t, name+"b", o)
}

// addPair makes two interfaces joined to each other, without XDP programs.
func addPair(t testing.TB, name string, o pairOptions) {
	t.Helper()
	o.queues, o.mtu = max(o.queues, 1), max(o.mtu, 1500)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.NumTxQueues, attrs.NumRxQueues = name+"a", o.mtu, o.queues, o.queues
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "b", PeerNumTxQueues: uint32(o.queues), PeerNumRxQueues: uint32(o.queues), PeerMTU: uint32(o.mtu)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add veth pair: %v", err)
	}
	for _, end := range []string{name + "a", name + "b"} {
		l, err := netlink.LinkByName(end)
		if err != nil {
			t.Fatalf("find %s: %v", end, err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatalf("set %s up: %v", end, err)
		}
	}
}

// newDevice attaches the XDP program to an interface until the test ends.
func newDevice(t testing.TB, name string, o pairOptions) *device {
	t.Helper()
	d := attachDevice(t, name, o)
	t.Cleanup(d.detach)
	return d
}

func attachDevice(t testing.TB, name string, o pairOptions) *device {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	o.queues = max(o.queues, 1)
	d := &device{link: l, index: l.Attrs().Index}
	d.xsks, err = ebpf.NewMap(&ebpf.MapSpec{Name: "xsks_map", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(o.queues)})
	if err != nil {
		t.Fatalf("make XSKMAP: %v", err)
	}
	var flags uint32
	if o.frags {
		flags = unix.BPF_F_XDP_HAS_FRAGS
	}
	const pass = 2 // XDP_PASS
	own := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R4, int32(binary.NativeEndian.Uint16([]byte{etherType >> 8, etherType & 0xff})), "pass"),
	}
	redirect := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // rx_queue_index
		asm.LoadMapPtr(asm.R1, d.xsks.FD()),
		asm.Mov.Imm(asm.R3, pass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
		asm.Return(),
	}
	if o.all {
		own, redirect = nil, redirect[:5]
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "xsk_test", Type: ebpf.XDP, License: "GPL", Flags: flags, Instructions: append(own, redirect...),
	})
	if err != nil {
		t.Fatalf("load XDP program: %v", err)
	}
	defer prog.Close() // the link keeps it
	at, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: d.index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatalf("attach XDP program to %s: %v", name, err)
	}
	d.detach = func() {
		at.Close()
		d.xsks.Close()
	}
	return d
}

// requireFragments skips the test if the kernel has no packets of several frames:
// it refuses flags that it does not know. It is asked for the interface lo of a
// namespace of the test.
func requireFragments(t testing.TB) {
	t.Helper()
	const lo = 1
	s, err := Open(lo, 0, Config{Mode: Copy, MultiBuffer: true})
	if errors.Is(err, unix.EINVAL) {
		t.Skip("the kernel (before 6.6) has no AF_XDP packets of several frames")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// open opens a socket on a queue of the device and lets it receive.
func (d *device) open(t testing.TB, queue int, cfg Config) *Socket {
	t.Helper()
	s, err := Open(d.index, queue, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := d.xsks.Update(uint32(queue), uint32(s.FD()), ebpf.UpdateAny); err != nil {
		t.Fatalf("put socket into XSKMAP: %v", err)
	}
	return s
}

// frame is a test frame of the given length, told apart by a number.
func frame(length, number int) []byte {
	f := make([]byte, length)
	for i := range f {
		f[i] = byte(i*7 + number*13)
	}
	binary.BigEndian.PutUint16(f[12:], etherType)
	binary.BigEndian.PutUint32(f[14:], uint32(number))
	return f
}

// transmit sends a packet, in as many frames as it takes.
func transmit(s *Socket, p []byte) error {
	per := s.FrameSize() - xdpHeadroom
	addrs := make([]uint64, (len(p)+per-1)/per)
	if n := s.Alloc(addrs); n < len(addrs) {
		s.Free(addrs[:n])
		return errors.New("no free frames")
	}
	descs := make([]Desc, len(addrs))
	for i, addr := range addrs {
		n := copy(s.Buffer(addr)[:per], p)
		p = p[n:]
		descs[i] = Desc{Addr: addr, Len: uint32(n), Options: Continued}
	}
	descs[len(descs)-1].Options = 0
	if n := s.Transmit(descs); n == 0 {
		s.Free(addrs)
		return errors.New("TX ring is full")
	}
	return s.Kick()
}

// receive waits for a packet and copies it.
func receive(s *Socket) ([]byte, error) {
	var p []byte
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		var d [1]Desc
		if s.Receive(d[:]) == 0 {
			if _, err := s.Wait(100 * time.Millisecond); err != nil {
				return nil, err
			}
			continue
		}
		p = append(p, s.Frame(d[0])...)
		s.Recycle(d[:])
		if d[0].Options&Continued == 0 {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no packet within 2 s, %d bytes of one", len(p))
}

// forward moves up to a burst of packets from one socket to another without a
// copy, and returns how many descriptors it moved.
func forward(from, to *Socket, burst []Desc) (int, error) {
	n := from.Receive(burst)
	if n == 0 && to.Pending() == 0 {
		return 0, nil
	}
	sent := 0
	if n > 0 {
		sent = to.Transmit(burst[:n])
		from.Recycle(burst[sent:n])
	}
	return sent, to.Kick()
}

// registered tells whether an XSKMAP has a socket for the queue. The kernel does
// not let one look that up, but refuses to replace what is not there. Any bound
// socket will do as the probe.
func registered(t testing.TB, m *ebpf.Map, queue int, probe *Socket) bool {
	t.Helper()
	err := m.Update(uint32(queue), uint32(probe.FD()), ebpf.UpdateExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
