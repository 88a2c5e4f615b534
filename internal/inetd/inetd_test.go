// SPDX-License-Identifier: Apache-2.0

package inetd_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var sockets atomic.Uint32

// stackOn makes a stack with one address, and a route to the other.
func stackOn(t *testing.T, iface *memif.Interface, own, peer netip.Prefix) *netstack.Stack {
	t.Helper()
	s, err := netstack.New(netstack.Options{Interface: iface, Mode: memif.IP})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Configure(podnet.Config{Addresses: []netip.Prefix{own}, Peers: []netip.Prefix{peer}}))
	return s
}

// served is a client of services, which are at the address server.
func served(t *testing.T) (client *netstack.Stack, server *netstack.Stack, at netip.Addr) {
	t.Helper()
	a := memif.Address{Socket: fmt.Sprintf("@nsm-inetd-test-%d-%d", os.Getpid(), sockets.Add(1))}
	listener, err := memif.Listen(a)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	master, err := listener.Interface(memif.Config{Mode: memif.IP})
	require.NoError(t, err)
	slave, err := memif.Slave(a, memif.Config{Mode: memif.IP})
	require.NoError(t, err)
	here, there := netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")
	server, client = stackOn(t, master, there, here), stackOn(t, slave, here, there)
	services, err := inetd.Serve(server)
	require.NoError(t, err)
	t.Cleanup(services.Close)
	require.Eventually(t, func() bool { return client.Connected() && server.Connected() }, patience, time.Millisecond)
	return client, server, there.Addr()
}

func dial(t *testing.T, from *netstack.Stack, network string, to netip.Addr, port uint16) net.Conn {
	t.Helper()
	conn, err := from.DialContext(t.Context(), network, netip.AddrPortFrom(to, port).String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

func TestEchoComesBackByTCP(t *testing.T) {
	client, _, at := served(t)
	conn := dial(t, client, "tcp", at, inetd.EchoPort)
	sent := bytes.Repeat([]byte("there and back "), 1000)
	_, err := conn.Write(sent)
	require.NoError(t, err)
	got := make([]byte, len(sent))
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, sent, got)
}

func TestDiscardTakesEverythingAndSaysNothing(t *testing.T) {
	client, _, at := served(t)
	conn := dial(t, client, "tcp", at, inetd.DiscardPort)
	_, err := conn.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Empty(t, rest)
}

func TestCharactersAreThoseOfTheRFC(t *testing.T) {
	client, _, at := served(t)
	conn := dial(t, client, "tcp", at, inetd.ChargenPort)
	got := make([]byte, 96*74)
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	lines := bytes.Split(got, []byte("\r\n"))
	require.Equal(t, ` !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`+"`abcdefg", string(lines[0]))
	require.Equal(t, `!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`+"`abcdefgh", string(lines[1]))
	require.Equal(t, lines[0], lines[95], "it begins again after all 95 characters have been first")
}

func TestADatagramHasOneAnswerAtMost(t *testing.T) {
	client, _, at := served(t)
	for _, test := range []struct {
		port uint16
		want int // bytes of the answer to 100 bytes, 0 if there is none
	}{{inetd.EchoPort, 100}, {inetd.ChargenPort, 512}, {inetd.DiscardPort, 0}} {
		conn := dial(t, client, "udp", at, test.port)
		const asked = 10
		for range asked {
			_, err := conn.Write(make([]byte, 100))
			require.NoError(t, err)
		}
		// The services are quick; what has not come when an echo is back does not come.
		echo := dial(t, client, "udp", at, inetd.EchoPort)
		_, err := echo.Write([]byte("x"))
		require.NoError(t, err)
		buf := make([]byte, 2048)
		_, err = echo.Read(buf)
		require.NoError(t, err)
		if test.want > 0 {
			for range asked {
				n, err := conn.Read(buf)
				require.NoError(t, err)
				require.Equal(t, test.want, n)
			}
		}
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err = conn.Read(buf)
		require.Error(t, err, "port %d", test.port)
	}
}

func TestServicesDoNotTalkToServices(t *testing.T) {
	client, _, at := served(t)
	for _, from := range []uint16{inetd.EchoPort, inetd.ChargenPort, 53, 1023, 1024} {
		socket, err := client.ListenUDP(from)
		require.NoError(t, err)
		defer func() { _ = socket.Close() }()
		_, err = socket.WriteTo([]byte("loop"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, inetd.EchoPort)))
		require.NoError(t, err)
		wait := 50 * time.Millisecond
		if from >= 1024 {
			wait = patience
		}
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(wait)))
		_, _, err = socket.ReadFrom(make([]byte, 100))
		require.Equal(t, from >= 1024, err == nil, "from port %d: %v", from, err)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	network := loopback{}
	services, err := inetd.Serve(&network)
	require.NoError(t, err)
	var conns []net.Conn
	for _, port := range []uint16{inetd.EchoPort, inetd.DiscardPort, inetd.ChargenPort} {
		conn, err := net.Dial("tcp", network.addrs[port])
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = conn.Write([]byte("x"))
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	services.Close()
	for _, conn := range conns {
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err := io.Copy(io.Discard, conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	for _, addr := range network.addrs {
		_, err := net.Dial("tcp", addr)
		require.Error(t, err)
	}
}

// loopback gives services any free port.
type loopback struct{ addrs map[uint16]string }

func (l *loopback) ListenTCP(port uint16) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if l.addrs == nil {
		l.addrs = make(map[uint16]string)
	}
	if err == nil {
		l.addrs[port] = listener.Addr().String()
	}
	return listener, err
}

func (l *loopback) ListenUDP(uint16) (net.PacketConn, error) {
	return net.ListenPacket("udp", "127.0.0.1:0")
}

func TestAPortThatIsTakenIsAnError(t *testing.T) {
	_, server, _ := served(t)
	_, err := inetd.Serve(server)
	require.ErrorContains(t, err, "port 7")
}
