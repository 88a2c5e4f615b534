// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

const (
	// wireBuffer is what the socket may hold in each direction, as much as
	// wireguard-go asks for.
	wireBuffer = 7 << 20
	// wireBatch messages are received at once. Each is up to 64 KiB of
	// datagrams that the kernel has coalesced.
	wireBatch   = 8
	messageSize = 64 << 10
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// maxPayload is the most that a UDP/IPv6 datagram carries, before it is
	// segmented. IPv4 has room for as much.
	maxPayload = 65535 - 48
)

// wire is a UDP socket of the node, with segmentation by the kernel in both
// directions (UDP_SEGMENT and UDP_GRO, Linux 5.0).
type wire struct {
	local netip.AddrPort
	conn  *net.UDPConn
	raw   syscall.RawConn
	// whole: the kernel segments what is sent.
	whole   atomic.Bool
	writers sync.Pool // of *writer
	running sync.WaitGroup
}

var _ wireguard.Transport = (*wire)(nil)

// listen opens a socket with a local address and port of the namespace at path.
func listen(path string, local netip.AddrPort) (*wire, error) {
	w := &wire{local: local}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			for _, opt := range [][2]int{{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE}, {unix.SO_SNDBUF, unix.SO_SNDBUFFORCE}} {
				if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[1], wireBuffer) != nil {
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[0], wireBuffer)
				}
			}
			_ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1)
			_, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
			w.whole.Store(err == nil)
		})
	}}
	network := "udp6"
	if local.Addr().Is4() {
		network = "udp4"
	}
	err := netns.Do(path, func() error {
		conn, err := config.ListenPacket(context.Background(), network, local.String())
		if err != nil {
			return err
		}
		w.conn = conn.(*net.UDPConn)
		return nil
	})
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("open WireGuard's socket: %w: another WireGuard of the node (a CNI's?) or another forwarder has port %d", err, local.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, fmt.Errorf("open WireGuard's socket: %w: %s is no address of this node", err, local.Addr())
	case err != nil:
		return nil, fmt.Errorf("open WireGuard's socket: %w", err)
	}
	if w.raw, err = w.conn.SyscallConn(); err != nil {
		_ = w.conn.Close()
		return nil, fmt.Errorf("open WireGuard's socket: %w", err)
	}
	w.writers.New = func() any { return newWriter(w) }
	return w, nil
}

// start gives what arrives to a hub, until close. failed is told why it ended
// otherwise.
func (w *wire) start(h *wireguard.Hub, failed func(error)) {
	w.running.Go(func() {
		if err := w.receive(h); !errors.Is(err, net.ErrClosed) {
			failed(err)
		}
	})
}

func (w *wire) close() error {
	err := w.conn.Close()
	w.running.Wait()
	return err
}

func (w *wire) receive(h *wireguard.Hub) error {
	// recvmmsg is the same for both families.
	conn := ipv4.NewPacketConn(w.conn)
	messages := make([]ipv4.Message, wireBatch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, messageSize)}
		messages[i].OOB = make([]byte, unix.CmsgSpace(4))
	}
	var datagrams [][]byte
	for {
		n, err := conn.ReadBatch(messages, 0)
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// An ICMP error for something sent; the socket goes on.
			if passing(err) {
				continue
			}
			return err
		}
		for i := range messages[:n] {
			m := &messages[i]
			from, ok := m.Addr.(*net.UDPAddr)
			if !ok {
				continue
			}
			remote := from.AddrPort()
			remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
			datagrams = split(datagrams[:0], m.Buffers[0][:m.N], segmentSize(m.OOB[:m.NN]))
			h.Receive(remote, w.local, datagrams)
		}
	}
}

// passing tells errors that speak of one datagram from those of the socket.
func passing(err error) bool {
	for _, e := range []unix.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENETDOWN,
		unix.EMSGSIZE, unix.ENOMEM, unix.ENOBUFS, unix.EINTR, unix.EAGAIN, unix.EPROTO, unix.ENOPROTOOPT, unix.EACCES, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// segmentSize is the size of the datagrams in a coalesced message, 0 if it is
// not coalesced.
func segmentSize(oob []byte) int {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 2 {
			// An int, but a uint16 in some kernels.
			return int(data[0]) | int(data[1])<<8
		}
		oob = rest
	}
	return 0
}

// split appends the datagrams of a message, the last of which may be shorter.
func split(datagrams [][]byte, b []byte, size int) [][]byte {
	if size <= 0 {
		size = len(b)
	}
	for len(b) > size {
		datagrams = append(datagrams, b[:size:size])
		b = b[size:]
	}
	return append(datagrams, b)
}
