// SPDX-License-Identifier: Apache-2.0

package netstack_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sockets atomic.Uint32

// socket is the name of an abstract socket that nobody has.
func socket() string {
	return fmt.Sprintf("@nsm-netstack-test-%d-%d", os.Getpid(), sockets.Add(1))
}

var (
	clientV4, endpointV4 = netip.MustParseAddr("172.16.1.101"), netip.MustParseAddr("172.16.1.100")
	clientV6, endpointV6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::")
)

// configs are what a connection's context gives both ends.
func configs(mtu int) (client, endpoint podnet.Config) {
	hosts := func(addrs ...netip.Addr) (all []netip.Prefix) {
		for _, a := range addrs {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
		}
		return all
	}
	client = podnet.Config{MTU: mtu, Addresses: hosts(clientV4, clientV6), Peers: hosts(endpointV4, endpointV6)}
	endpoint = podnet.Config{MTU: mtu, Addresses: hosts(endpointV4, endpointV6), Peers: hosts(clientV4, clientV6)}
	return client, endpoint
}

func master(t testing.TB, at string, mode memif.Mode) *netstack.Stack {
	t.Helper()
	listener, err := memif.Listen(memif.Address{Socket: at})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	iface, err := listener.Interface(memif.Config{Mode: mode, Name: "endpoint"})
	require.NoError(t, err)
	return start(t, netstack.Options{Interface: iface, Mode: mode, Seed: "endpoint"})
}

func slave(t testing.TB, at string, mode memif.Mode) *netstack.Stack {
	t.Helper()
	iface, err := memif.Slave(memif.Address{Socket: at}, memif.Config{Mode: mode, Name: "client"})
	require.NoError(t, err)
	return start(t, netstack.Options{Interface: iface, Mode: mode, Seed: "client"})
}

func start(t testing.TB, opts netstack.Options) *netstack.Stack {
	t.Helper()
	s, err := netstack.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// pair is a client and an endpoint joined by a memif.
func pair(t testing.TB, mode memif.Mode, mtu int) (client, endpoint *netstack.Stack) {
	t.Helper()
	at := socket()
	endpoint, client = master(t, at, mode), slave(t, at, mode)
	clientConfig, endpointConfig := configs(mtu)
	require.NoError(t, client.Configure(clientConfig))
	require.NoError(t, endpoint.Configure(endpointConfig))
	connected(t, client, endpoint)
	return client, endpoint
}

func connected(t testing.TB, stacks ...*netstack.Stack) {
	t.Helper()
	for _, s := range stacks {
		require.Eventually(t, s.Connected, 20*time.Second, time.Millisecond)
	}
}

// everywhere runs a test in both modes and both families.
func everywhere(t *testing.T, test func(t *testing.T, mode memif.Mode, client, endpoint netip.Addr)) {
	for _, mode := range []memif.Mode{memif.Ethernet, memif.IP} {
		t.Run(fmt.Sprintf("%v IPv4", mode), func(t *testing.T) { test(t, mode, clientV4, endpointV4) })
		t.Run(fmt.Sprintf("%v IPv6", mode), func(t *testing.T) { test(t, mode, clientV6, endpointV6) })
	}
}

func TestAMegabyteGetsThroughEachWayAtTheSameTime(t *testing.T) {
	everywhere(t, func(t *testing.T, mode memif.Mode, _, to netip.Addr) {
		client, endpoint := pair(t, mode, 1446)
		listener, err := endpoint.ListenTCP(5001)
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()
		var exchanges sync.WaitGroup
		defer exchanges.Wait()
		exchange := func(conn net.Conn, seed uint64) {
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			sent := make([]byte, 1<<20)
			random := rand.NewChaCha8(sha256.Sum256([]byte{byte(seed)}))
			_, _ = random.Read(sent)
			want := make([]byte, 1<<20)
			_, _ = rand.NewChaCha8(sha256.Sum256([]byte{byte(1 - seed)})).Read(want)
			var writing sync.WaitGroup
			writing.Go(func() {
				_, err := conn.Write(sent)
				require.NoError(t, err)
			})
			got := make([]byte, 1<<20)
			_, err := io.ReadFull(conn, got)
			writing.Wait()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "what arrives is not what was sent")
		}
		exchanges.Go(func() {
			conn, err := listener.Accept()
			if err == nil {
				exchange(conn, 0)
			}
		})
		conn, err := client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(to, 5001).String())
		require.NoError(t, err)
		exchange(conn, 1)
	})
}

// echoes pings from one stack and returns what happened.
func echoes(t testing.TB, from *netstack.Stack, to netip.Addr, o ping.Options) (ping.Summary, []ping.Event) {
	t.Helper()
	conn, err := from.Echo(netip.Addr{}, to, o.DontFragment)
	require.NoError(t, err)
	var events []ping.Event
	summary := ping.Session(t.Context(), conn, o, func(e ping.Event) { events = append(events, e) })
	return summary, events
}

var quick = ping.Options{Count: 4, Size: 56, Preload: 4, Timeout: 10 * time.Second}

func TestBothEndsAnswerPings(t *testing.T) {
	everywhere(t, func(t *testing.T, mode memif.Mode, here, there netip.Addr) {
		client, endpoint := pair(t, mode, 1446)
		for _, ping := range []struct {
			from *netstack.Stack
			to   netip.Addr
		}{{client, there}, {endpoint, here}, {client, here}} {
			summary, events := echoes(t, ping.from, ping.to, quick)
			require.Equal(t, 4, summary.Sent)
			require.Equal(t, 4, summary.Received, "%+v", events)
			for _, e := range events {
				require.Equal(t, 64, e.Size)
				require.Equal(t, 64, e.TTL)
				require.Equal(t, ping.to.String(), e.From)
				require.Positive(t, e.RoundTrip)
			}
		}
	})
}

func TestAPacketOfTheMTUPassesAndOneByteMoreIsReported(t *testing.T) {
	const mtu = 1446
	everywhere(t, func(t *testing.T, mode memif.Mode, _, there netip.Addr) {
		client, _ := pair(t, mode, mtu)
		o := quick
		o.DontFragment, o.Size = true, mtu-ping.HeaderSize(there)
		summary, events := echoes(t, client, there, o)
		require.Equal(t, 4, summary.Received, "%+v", events)
		o.Size++
		summary, events = echoes(t, client, there, o)
		require.Equal(t, 4, summary.Problems)
		require.Zero(t, summary.Received)
		require.Equal(t, "message too long, mtu=1446", events[0].Problem)
		o.DontFragment = false
		summary, events = echoes(t, client, there, o)
		require.Equal(t, 4, summary.Received, "fragments: %+v", events)
	})
}
