// SPDX-License-Identifier: Apache-2.0

package netstack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/ping"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

func TestATCPConnectionOutlivesTheMemif(t *testing.T) {
	for _, mode := range []memif.Mode{memif.Ethernet, memif.IP} {
		t.Run(mode.String(), func(t *testing.T) {
			// Two memifs in a row lead from the client to the endpoint.
			first, second := socket(), socket()
			clientConfig, endpointConfig := configs(1446)
			client := slave(t, first, mode)
			require.NoError(t, client.Configure(clientConfig))
			listener, err := memif.Listen(memif.Address{Socket: first})
			require.NoError(t, err)
			iface, err := listener.Interface(memif.Config{Mode: mode})
			require.NoError(t, err)
			endpoint := start(t, netstack.Options{Interface: iface, Mode: mode, Seed: "endpoint"})
			require.NoError(t, endpoint.Configure(endpointConfig))
			connected(t, client, endpoint)
			server, err := endpoint.ListenTCP(7)
			require.NoError(t, err)
			defer func() { _ = server.Close() }()
			go func() {
				if conn, err := server.Accept(); err == nil {
					_, _ = io.Copy(conn, conn)
					_ = conn.Close()
				}
			}()
			conn, err := client.DialContext(t.Context(), "tcp", netip.AddrPortFrom(endpointV4, 7).String())
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			exchange := func(text string) {
				_, err := io.WriteString(conn, text)
				require.NoError(t, err)
				got := make([]byte, len(text))
				_, err = io.ReadFull(conn, got)
				require.NoError(t, err)
				require.Equal(t, text, string(got))
			}
			exchange("before")

			// The forwarder is gone, and somebody sends all the same.
			require.NoError(t, listener.Close())
			require.Eventually(t, func() bool { return !client.Connected() && !endpoint.Connected() }, 20*time.Second, time.Millisecond)
			_, err = io.WriteString(conn, "while")
			require.NoError(t, err)
			listener, err = memif.Listen(memif.Address{Socket: second})
			require.NoError(t, err)
			defer func() { _ = listener.Close() }()
			master, err := listener.Interface(memif.Config{Mode: mode})
			require.NoError(t, err)
			endpoint.Replace(master)
			other, err := memif.Slave(memif.Address{Socket: second}, memif.Config{Mode: mode})
			require.NoError(t, err)
			client.Replace(other)
			got := make([]byte, len("while"))
			_, err = io.ReadFull(conn, got)
			require.NoError(t, err)
			require.Equal(t, "while", string(got))
			exchange("after")
		})
	}
}

func TestAPeerMayGoAndAnotherMayCome(t *testing.T) {
	at := socket()
	endpoint := master(t, at, memif.Ethernet)
	clientConfig, endpointConfig := configs(1446)
	require.NoError(t, endpoint.Configure(endpointConfig))
	for i := range 3 {
		iface, err := memif.Slave(memif.Address{Socket: at}, memif.Config{})
		require.NoError(t, err)
		// Another hardware address each time, behind the same IP addresses.
		client, err := netstack.New(netstack.Options{Interface: iface, Seed: fmt.Sprint(i)})
		require.NoError(t, err)
		require.NoError(t, client.Configure(clientConfig))
		connected(t, client, endpoint)
		for _, to := range []netip.Addr{clientV4, clientV6} {
			// The master may have a connection before it has noticed that the one before ended.
			require.Eventually(t, func() bool {
				summary, _ := echoes(t, endpoint, to, ping.Options{Count: 1, Timeout: time.Second})
				return summary.Received == 1
			}, 20*time.Second, time.Millisecond)
		}
		require.NoError(t, client.Close())
		require.Eventually(t, func() bool { return !endpoint.Connected() }, 20*time.Second, time.Millisecond)
	}
}

func TestDatagramsKeepTheirSizes(t *testing.T) {
	everywhere(t, func(t *testing.T, mode memif.Mode, _, to netip.Addr) {
		client, endpoint := pair(t, mode, 1446)
		server, err := endpoint.ListenUDP(5002)
		require.NoError(t, err)
		defer func() { _ = server.Close() }()
		conn, err := client.DialContext(t.Context(), "udp", netip.AddrPortFrom(to, 5002).String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		require.NoError(t, server.SetReadDeadline(time.Now().Add(20*time.Second)))
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		buf := make([]byte, 1<<16)
		for _, size := range []int{1, 1000, 1398, 1418, 1419, 9000, 65000} { // the last ones in fragments
			_, err := conn.Write(make([]byte, size))
			require.NoError(t, err)
			n, from, err := server.ReadFrom(buf)
			require.NoError(t, err, "%d bytes", size)
			require.Equal(t, size, n)
			_, err = server.WriteTo(buf[:n], from)
			require.NoError(t, err)
			n, err = conn.Read(buf)
			require.NoError(t, err)
			require.Equal(t, size, n)
		}
	})
}

func TestFramesForOthersAreLeftAlone(t *testing.T) {
	at := socket()
	endpoint := master(t, at, memif.Ethernet)
	_, config := configs(1446)
	require.NoError(t, endpoint.Configure(config))
	iface, err := memif.Slave(memif.Address{Socket: at}, memif.Config{})
	require.NoError(t, err)
	defer func() { _ = iface.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := iface.Connect(ctx)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()

	// An ARP request (RFC 826) for the endpoint's address, to several hardware addresses.
	ask := func(to net.HardwareAddr) []byte {
		frame := append(append([]byte{}, to...), 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9)
		frame = append(frame, clientV4.AsSlice()...)
		return append(append(frame, 0, 0, 0, 0, 0, 0), endpointV4.AsSlice()...)
	}
	broadcast, other := net.HardwareAddr{255, 255, 255, 255, 255, 255}, net.HardwareAddr{2, 1, 1, 1, 1, 1}
	// What is malformed or for others comes first: it must not be answered, nor end anything.
	for _, frame := range [][]byte{ask(other), {}, {1}, make([]byte, 13), make([]byte, 14), ask(broadcast)[:30], ask(broadcast)} {
		conn.Tx()[0].Send([]memif.Packet{{Data: frame}})
	}
	var answers [16]memif.Packet
	answered := func() int { return conn.Rx()[0].Receive(answers[:]) }
	n := 0
	require.Eventually(t, func() bool { n = answered(); return n > 0 }, 20*time.Second, time.Millisecond)
	found := 0
	for _, a := range answers[:n] {
		if len(a.Data) >= 42 && a.Data[12] == 8 && a.Data[13] == 6 {
			require.Equal(t, endpoint.HardwareAddr(), net.HardwareAddr(a.Data[6:12]))
			found++
		}
	}
	require.Equal(t, 1, found, "one answer")
}

func TestHardwareAddressesAreStableAndLocal(t *testing.T) {
	mac := func(mode memif.Mode, seed string) net.HardwareAddr {
		iface, err := memif.Slave(memif.Address{Socket: socket()}, memif.Config{Mode: mode})
		require.NoError(t, err)
		return start(t, netstack.Options{Interface: iface, Mode: mode, Seed: seed}).HardwareAddr()
	}
	a := mac(memif.Ethernet, "a")
	require.Equal(t, a, mac(memif.Ethernet, "a"))
	require.NotEqual(t, a, mac(memif.Ethernet, "b"))
	require.Equal(t, byte(2), a[0]&3, "locally administered, unicast")
	require.Nil(t, mac(memif.IP, "a"))
}

func TestRoutesAndNeighboursAreConfigured(t *testing.T) {
	client, endpoint := pair(t, memif.Ethernet, 1446)
	clientConfig, endpointConfig := configs(1446)
	far := netip.MustParseAddr("10.7.0.1")
	endpointConfig.Addresses = append(endpointConfig.Addresses, netip.PrefixFrom(far, 32))
	require.NoError(t, endpoint.Configure(endpointConfig))
	reach := func(to netip.Addr) bool {
		o := quick
		o.Timeout = 300 * time.Millisecond
		summary, _ := echoes(t, client, to, o)
		return summary.Received > 0
	}
	require.False(t, reach(far), "no route")
	for name, route := range map[string]podnet.Route{
		"by the peer, as no next hop is named": {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		"by a next hop":                        {Prefix: netip.MustParsePrefix("0.0.0.0/0"), Via: endpointV4},
	} {
		clientConfig.Routes = []podnet.Route{route}
		require.NoError(t, client.Configure(clientConfig))
		require.Eventually(t, func() bool { return reach(far) }, 20*time.Second, time.Millisecond, name)
	}
	// A neighbour that is configured is believed: nobody has this hardware address.
	clientConfig.Neighbours = []podnet.Neighbour{{Addr: endpointV4, HardwareAddr: net.HardwareAddr{2, 9, 9, 9, 9, 9}}}
	require.NoError(t, client.Configure(clientConfig))
	require.False(t, reach(endpointV4))
	clientConfig.Neighbours[0].HardwareAddr = endpoint.HardwareAddr()
	clientConfig.MTU = 1400
	require.NoError(t, client.Configure(clientConfig))
	require.Eventually(t, func() bool { return reach(endpointV4) }, 20*time.Second, time.Millisecond)
}

func TestAnImpossibleConfigurationChangesNothing(t *testing.T) {
	client, _ := pair(t, memif.IP, 1446)
	good, _ := configs(1446)
	for name, spoil := range map[string]func(*podnet.Config){
		"MTU":               func(c *podnet.Config) { c.MTU = 1 << 16 },
		"small MTU":         func(c *podnet.Config) { c.MTU = 1279 },
		"negative MTU":      func(c *podnet.Config) { c.MTU = -1 },
		"multicast address": func(c *podnet.Config) { c.Addresses[0] = netip.MustParsePrefix("224.0.0.1/32") },
		"no address":        func(c *podnet.Config) { c.Addresses[0] = netip.Prefix{} },
		"no peer":           func(c *podnet.Config) { c.Peers[0] = netip.Prefix{} },
		"mixed families": func(c *podnet.Config) {
			c.Routes = []podnet.Route{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Via: endpointV6}}
		},
		"hardware address": func(c *podnet.Config) { c.Neighbours = []podnet.Neighbour{{Addr: endpointV4, HardwareAddr: []byte{1}}} },
	} {
		bad, _ := configs(1446)
		spoil(&bad)
		require.ErrorIs(t, client.Configure(bad), netstack.ErrInvalid, name)
		summary, events := echoes(t, client, endpointV4, quick)
		require.Equal(t, 4, summary.Received, "%s: %v", name, events)
	}
	require.NoError(t, client.Configure(good))
}

func TestTheLongestRouteLeads(t *testing.T) {
	var table netstack.Table
	stack := func(id string, routes ...string) *netstack.Stack {
		iface, err := memif.Slave(memif.Address{Socket: socket()}, memif.Config{Mode: memif.IP})
		require.NoError(t, err)
		s := start(t, netstack.Options{Interface: iface, Mode: memif.IP})
		c := podnet.Config{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}
		for _, r := range routes {
			c.Routes = append(c.Routes, podnet.Route{Prefix: netip.MustParsePrefix(r)})
		}
		require.NoError(t, s.Configure(c))
		table.Put(id, s)
		return s
	}
	wide, narrow, six := stack("wide", "0.0.0.0/0"), stack("narrow", "10.1.0.0/16"), stack("six", "2001:db8::/32")
	for to, want := range map[string]*netstack.Stack{
		"192.0.2.1": wide, "10.1.2.3": narrow, "10.2.0.1": wide, "2001:db8::1": six, "2001:db9::1": nil, "::ffff:10.1.2.3": narrow,
	} {
		require.Same(t, want, table.Lookup(netip.MustParseAddr(to)), to)
	}
	table.Remove("narrow", wide)
	require.Same(t, narrow, table.Get("narrow"), "not that one")
	table.Remove("narrow", narrow)
	require.Same(t, wide, table.Lookup(netip.MustParseAddr("10.1.2.3")))
}
