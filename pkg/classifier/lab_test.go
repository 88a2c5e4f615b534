// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	uplinkName = "up0"
	patience   = 5 * time.Second
)

var (
	uplinkAddr = netip.MustParseAddr("192.0.2.1")
	remoteAddr = netip.MustParseAddr("192.0.2.2")
)

// lab is an uplink (a veth) in a namespace of its own, and who is at the other
// end of the wire in another.
type lab struct {
	tb         testing.TB
	node, peer *namespace
	pinDir     string // on a bpffs of its own
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	l := &lab{tb: tb, node: newNamespace(tb), peer: newNamespace(tb)}
	l.makeWire(uplinkName)
	l.pinDir = filepath.Join(mountBPF(tb), "nsm")
	return l
}

// makeWire makes the uplink; its peer is called far0.
func (l *lab) makeWire(name string) {
	l.tb.Helper()
	err := l.node.try(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "far0", PeerNamespace: netlink.NsFd(l.peer.fd)})
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		l.tb.Skip("kernel has no veth")
	}
	require.NoError(l.tb, err)
	l.node.do(l.tb, func() error { return configure(name, uplinkAddr) })
	l.peer.do(l.tb, func() error { return configure("far0", remoteAddr) })
}

func configure(name string, addr netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func mountBPF(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	require.NoError(tb, unix.Mount("bpf", dir, "bpf", 0, ""))
	tb.Cleanup(func() { require.NoError(tb, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func (l *lab) config() Config { return Config{Interface: uplinkName, PinDir: l.pinDir} }

// attach attaches and, at the end of the test, ends like a process does.
func (l *lab) attach(cfg Config) *Classifier {
	l.tb.Helper()
	c, err := l.tryAttach(cfg)
	require.NoError(l.tb, err)
	l.tb.Cleanup(func() { require.NoError(l.tb, c.Close()) })
	return c
}

func (l *lab) tryAttach(cfg Config) (c *Classifier, err error) {
	_ = l.node.try(func() error {
		c, err = Attach(cfg)
		return nil
	})
	return c, err
}

func (l *lab) inspect(name string) *Status {
	l.tb.Helper()
	var s *Status
	l.node.do(l.tb, func() (err error) {
		s, err = Inspect(name)
		return err
	})
	return s
}

// listen opens a UDP socket of Linux at the uplink's address.
func (l *lab) listen(port uint16) *net.UDPConn {
	l.tb.Helper()
	var conn *net.UDPConn
	l.node.do(l.tb, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(uplinkAddr, port)))
		return err
	})
	l.tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send sends a datagram from the far end of the wire to the uplink.
func (l *lab) send(port uint16, payload []byte) {
	l.tb.Helper()
	l.peer.do(l.tb, func() error {
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(uplinkAddr, port)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(payload)
		return err
	})
}

// requireArrival waits for the datagram at a socket of Linux.
func requireArrival(tb testing.TB, conn *net.UDPConn, payload []byte) {
	tb.Helper()
	buf := make([]byte, 9000)
	require.NoError(tb, conn.SetReadDeadline(time.Now().Add(patience)))
	n, err := conn.Read(buf)
	require.NoError(tb, err)
	require.Equal(tb, payload, buf[:n])
}

// requireNothing is sure that the datagram is not late, because another one
// that was sent after it has arrived.
func (l *lab) requireNothing(conn *net.UDPConn) {
	l.tb.Helper()
	witness := l.listen(9)
	defer witness.Close()
	l.send(9, []byte("witness"))
	requireArrival(l.tb, witness, []byte("witness"))
	require.NoError(l.tb, conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(l.tb, err, os.ErrDeadlineExceeded)
}

// requireTCP talks over the wire.
func (l *lab) requireTCP() {
	l.tb.Helper()
	server, client := l.connect()
	defer server.Close()
	defer client.Close()
	requireTalk(l.tb, server, client)
}

// connect makes a TCP connection over the wire.
func (l *lab) connect() (server, client net.Conn) {
	l.tb.Helper()
	var listener net.Listener
	l.node.do(l.tb, func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(uplinkAddr, 0).String())
		return err
	})
	defer listener.Close()
	l.peer.do(l.tb, func() (err error) {
		client, err = net.DialTimeout("tcp4", listener.Addr().String(), patience)
		return err
	})
	server, err := listener.Accept()
	require.NoError(l.tb, err)
	return server, client
}

func requireTalk(tb testing.TB, a, b net.Conn) {
	tb.Helper()
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		message := []byte("through Linux as ever")
		require.NoError(tb, pair[1].SetDeadline(time.Now().Add(patience)))
		_, err := pair[0].Write(message)
		require.NoError(tb, err)
		got := make([]byte, len(message))
		_, err = pair[1].Read(got)
		require.NoError(tb, err)
		require.Equal(tb, message, got)
	}
}

// count is the packets of one counter.
func count(tb testing.TB, c *Classifier, name string) uint64 {
	tb.Helper()
	counters, err := c.Counters()
	require.NoError(tb, err)
	for _, counter := range counters {
		if counter.Name() == name {
			return counter.Packets
		}
	}
	require.Fail(tb, "no counter", name)
	return 0
}

// passer is somebody else's program.
func passer(tb testing.TB, name string) *ebpf.Program {
	tb.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.LoadImm(asm.R0, xdpPass, asm.DWord), asm.Return()}})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// bpfHandles counts the BPF file descriptors of this process.
func bpfHandles(tb testing.TB) int {
	tb.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(tb, err)
	handles := 0
	for _, f := range files {
		if target, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(target, "bpf") {
			handles++
		}
	}
	return handles
}

// receiver is the least AF_XDP socket that can receive: 16 chunks and no
// way to give one back.
type receiver struct {
	fd    int
	umem  []byte
	fill  []byte
	ring  []byte
	off   unix.XDPRingOffset
	taken uint32
}

const (
	chunks    = 16
	chunkSize = 4096
)

func (l *lab) newReceiver(c *Classifier) *receiver {
	l.tb.Helper()
	r := &receiver{fd: -1}
	err := l.node.try(func() error { return r.open(c.Index()) })
	l.tb.Cleanup(r.close)
	skipWithoutAFXDP(l.tb, err)
	require.NoError(l.tb, err)
	require.NoError(l.tb, c.Sockets().Put(uint32(0), uint32(r.fd)))
	return r
}

// close may be called twice. A mapped ring would keep the socket.
func (r *receiver) close() {
	for _, area := range [][]byte{r.ring, r.fill, r.umem} {
		if area != nil {
			_ = unix.Munmap(area)
		}
	}
	_ = unix.Close(r.fd)
	*r = receiver{fd: -1}
}

func (r *receiver) open(index int) (err error) {
	if r.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	const anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if r.umem, err = unix.Mmap(-1, 0, chunks*chunkSize, unix.PROT_READ|unix.PROT_WRITE, anonymous); err != nil {
		return err
	}
	area := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&r.umem[0]))), Len: uint64(len(r.umem)), Size: chunkSize}
	if err := r.set(unix.XDP_UMEM_REG, unsafe.Pointer(&area), unsafe.Sizeof(area)); err != nil {
		return err
	}
	size := uint32(chunks)
	for _, ring := range []uintptr{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		if err := r.set(ring, unsafe.Pointer(&size), unsafe.Sizeof(size)); err != nil {
			return err
		}
	}
	var offsets unix.XDPMmapOffsets
	length := uint32(unsafe.Sizeof(offsets))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&offsets)), uintptr(unsafe.Pointer(&length)), 0); errno != 0 {
		return fmt.Errorf("ring offsets: %w", errno)
	}
	if r.fill, err = unix.Mmap(r.fd, unix.XDP_UMEM_PGOFF_FILL_RING, int(offsets.Fr.Desc)+chunks*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	for i := range chunks {
		*(*uint64)(unsafe.Pointer(&r.fill[int(offsets.Fr.Desc)+8*i])) = uint64(i * chunkSize)
	}
	*(*uint32)(unsafe.Pointer(&r.fill[offsets.Fr.Producer])) = chunks
	r.off = offsets.Rx
	if r.ring, err = unix.Mmap(r.fd, unix.XDP_PGOFF_RX_RING, int(r.off.Desc)+chunks*16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	return unix.Bind(r.fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(index)})
}

func (r *receiver) set(option uintptr, value unsafe.Pointer, size uintptr) error {
	if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(r.fd), unix.SOL_XDP, option, uintptr(value), size, 0); errno != 0 {
		return fmt.Errorf("AF_XDP option %d: %w", option, errno)
	}
	return nil
}

// receive waits for the next frame.
func (r *receiver) receive(tb testing.TB) []byte {
	tb.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	require.NoError(tb, err)
	require.Equal(tb, 1, n, "no frame arrived")
	at := int(r.off.Desc) + int(r.taken%chunks)*16
	desc := *(*unix.XDPDesc)(unsafe.Pointer(&r.ring[at]))
	r.taken++
	*(*uint32)(unsafe.Pointer(&r.ring[r.off.Consumer])) = r.taken
	return r.umem[desc.Addr : desc.Addr+uint64(desc.Len)]
}
