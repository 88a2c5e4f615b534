// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// node is a network namespace with an underlay interface.
type node struct {
	name string
	addr netip.Addr
}

// twoNodes makes two namespaces joined by a veth pair, with an address each.
func twoNodes(t testing.TB, a, b netip.Prefix) (node, node) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("needs ip for network namespaces: %v", err)
	}
	id := rand.Uint32()
	x := node{fmt.Sprintf("wgx-%d-%08x", os.Getpid(), id), a.Addr()}
	y := node{fmt.Sprintf("wgy-%d-%08x", os.Getpid(), id), b.Addr()}
	for _, n := range []node{x, y} {
		command(t, "ip", "netns", "add", n.name)
		t.Cleanup(func() { command(t, "ip", "netns", "del", n.name) })
		n.run(t, "ip", "link", "set", "lo", "up")
	}
	x.run(t, "ip", "link", "add", "under", "type", "veth", "peer", "name", "under", "netns", y.name)
	for n, prefix := range map[node]netip.Prefix{x: a, y: b} {
		n.run(t, "ip", "addr", "add", prefix.String(), "dev", "under", "nodad")
		n.run(t, "ip", "link", "set", "under", "up")
	}
	return x, y
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (n node) run(t testing.TB, args ...string) string {
	t.Helper()
	return command(t, "ip", append([]string{"netns", "exec", n.name}, args...)...)
}

// listen opens a UDP socket in the node's namespace.
func (n node) listen(t testing.TB, port int) *net.UDPConn {
	t.Helper()
	type result struct {
		conn *net.UDPConn
		err  error
	}
	done := make(chan result)
	go func() {
		// The thread is discarded with the goroutine, for it stays locked.
		runtime.LockOSThread()
		ns, err := netns.GetFromName(n.name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err == nil {
			err = enlarge(conn)
		}
		done <- result{conn, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("listen in %s: %v", n.name, r.err)
	}
	return r.conn
}

// enlarge gives the socket room for what 200 tunnels send at once.
func enlarge(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	return errors.Join(err, failed)
}

// socket is a Transport over a UDP socket, for tests.
type socket struct{ conn *net.UDPConn }

func (s socket) Send(_, remote netip.AddrPort, datagrams [][]byte) error {
	for _, d := range datagrams {
		if _, err := s.conn.WriteToUDPAddrPort(d, remote); err != nil {
			return err
		}
	}
	return nil
}

// hub makes a hub that receives from a socket of the node until the test ends.
func (n node) hub(t testing.TB) *Hub {
	t.Helper()
	s := socket{n.listen(t, 51820)}
	h := NewHub(s, HubConfig{Log: t.Logf})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		local := netip.AddrPortFrom(n.addr, 51820)
		buffer := make([]byte, maxDatagram)
		for {
			size, remote, err := s.conn.ReadFromUDPAddrPort(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
				h.Receive(remote, local, [][]byte{buffer[:size]})
			}
		}
	}()
	t.Cleanup(func() {
		h.Close()
		s.conn.Close()
		<-stopped
	})
	return h
}

// stock is Debian's wireguard-go in a namespace.
type stock struct {
	node
	link    string
	process *exec.Cmd
	private Key
	// complaints is what process wrote to stderr, complete when it has ended.
	complaints *bytes.Buffer
}

func requireStock(t testing.TB) {
	t.Helper()
	for _, program := range []string{"wireguard-go", "wg", "ip", "ping"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("interop needs %s: %v", program, err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("interop needs TUN devices: %v", err)
	}
}

// start runs wireguard-go with the peer and brings its interface up.
func (s *stock) start(t testing.TB, address string, peer Key, endpoint netip.AddrPort) {
	t.Helper()
	s.process = exec.Command("ip", "netns", "exec", s.name, "wireguard-go", "-f", s.link)
	s.process.Env = append(os.Environ(), "LOG_LEVEL=error")
	s.complaints = new(bytes.Buffer)
	s.process.Stderr = s.complaints
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "wireguard-go listens", func() bool {
		return exec.Command("wg", "show", s.link).Run() == nil
	})
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(s.private.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "wg", "set", s.link, "listen-port", "51820", "private-key", file,
		"peer", peer.String(), "endpoint", endpoint.String(), "allowed-ips", "0.0.0.0/0,::/0")
	s.run(t, "ip", "addr", "add", address, "dev", s.link)
	s.run(t, "ip", "link", "set", s.link, "up")
}

// stop ends wireguard-go as kill does; ip netns exec has become it.
func (s *stock) stop(t testing.TB) {
	t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.process.Wait() // says that it was killed
	if t.Failed() {
		t.Logf("wireguard-go says:\n%s", s.complaints)
	}
	// It could not remove its control socket.
	if err := os.Remove("/var/run/wireguard/" + s.link + ".sock"); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// responder is an Inside that answers pings to any address, and hands out the
// echo replies that it gets.
type responder struct {
	*memory
	replies chan uint16 // sequence numbers
}

func newResponder() responder {
	return responder{newMemory(), make(chan uint16, 256)}
}

func (r responder) Write(bufs [][]byte, offset int) (int, error) {
	const icmp, request, reply = 20, 8, 0
	for _, b := range bufs {
		p := append([]byte(nil), b[offset:]...)
		if len(p) < icmp+8 || p[0] != 0x45 || p[9] != 1 {
			continue
		}
		switch p[icmp] {
		case reply:
			r.replies <- binary.BigEndian.Uint16(p[icmp+6:])
		case request:
			var src [4]byte
			copy(src[:], p[12:16])
			copy(p[12:16], p[16:20])
			copy(p[16:20], src[:])
			p[icmp] = reply
			finishICMP(p)
			r.out <- p
		}
	}
	return len(bufs), nil
}

// finishICMP sets the checksums of an IPv4 packet with ICMP in it.
func finishICMP(p []byte) {
	for _, part := range []struct {
		bytes []byte
		at    int
	}{{p[:20], 10}, {p[20:], 2}} {
		binary.BigEndian.PutUint16(part.bytes[part.at:], 0)
		var sum uint32
		for i := 0; i+1 < len(part.bytes); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part.bytes[i:]))
		}
		if len(part.bytes)%2 == 1 {
			sum += uint32(part.bytes[len(part.bytes)-1]) << 8
		}
		for sum>>16 != 0 {
			sum = sum>>16 + sum&0xffff
		}
		binary.BigEndian.PutUint16(part.bytes[part.at:], ^uint16(sum))
	}
}

// ping sends an echo request and waits for its reply.
func (r responder) ping(t testing.TB, from, to netip.Addr, sequence uint16, size int) {
	t.Helper()
	p := make([]byte, size)
	p[0], p[8], p[9] = 0x45, 64, 1
	binary.BigEndian.PutUint16(p[2:], uint16(size))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	p[20] = 8
	binary.BigEndian.PutUint16(p[26:], sequence)
	finishICMP(p)
	r.out <- p
	for deadline := time.After(10 * time.Second); ; {
		select {
		case got := <-r.replies:
			if got == sequence {
				return
			}
		case <-deadline:
			t.Fatalf("no reply to ping %d", sequence)
		}
	}
}

func handshake(t testing.TB, tunnel *Tunnel) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := tunnel.Handshake(ctx); err != nil {
		t.Fatal(err)
	}
}
