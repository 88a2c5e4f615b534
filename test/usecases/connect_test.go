// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// useCase is a row of the table: a client on the first node, and an endpoint on
// the same or on the other.
type useCase struct {
	name    string
	payload string
	remote  bool
	// path is what the forwarder's status calls the way of the packets.
	tunnel string
}

var table = []useCase{
	{"kernel2kernel", "ETHERNET", false, ""},
	{"kernel2kernel-ip", "IP", false, ""},
	{"kernel2ethernet2kernel", "ETHERNET", true, "VXLAN"},
	{"kernel2ip2kernel", "IP", true, "WIREGUARD"},
}

var (
	clientAddr   = netip.MustParseAddr("172.16.1.101")
	endpointAddr = netip.MustParseAddr("172.16.1.100")
)

const cidr = "172.16.1.100/31"

// linked is a client and an endpoint that are connected.
type linked struct {
	nsc *lab.Client
	nse *lab.Endpoint
}

// link starts an endpoint and a client of a use case and waits until they are
// connected.
func link(t *testing.T, l *lab.Lab, u useCase) linked {
	t.Helper()
	node := l.Nodes[0]
	if u.remote {
		node = l.Nodes[1]
	}
	nse, err := node.StartEndpoint(within(t, 10*time.Second), "nse-"+u.name,
		lab.Service{Name: u.name, Payload: u.payload, CIDR: cidr}, nil)
	require.NoError(t, err)
	nsc, err := l.Nodes[0].StartClient("nsc-"+u.name, "kernel://"+u.name+"/nsm-1", nil)
	require.NoError(t, err)
	require.NoError(t, nsc.AwaitConnected(within(t, 10*time.Second)))
	return linked{nsc: nsc, nse: nse}
}

// requirePing pings both ways and loses nothing.
func (k linked) requirePing(t *testing.T) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for from, to := range map[*lab.Namespace]netip.Addr{k.nsc.Pod: endpointAddr, k.nse.Pod: clientAddr} {
		out, err := lab.Ping(ctx, from, to, 5)
		require.NoError(t, err)
		require.Contains(t, out, " 0% packet loss")
	}
}

func TestUseCases(t *testing.T) {
	l := startLab(t, lab.Config{})
	for _, u := range table {
		t.Run(u.name, func(t *testing.T) {
			k := link(t, l, u)
			k.requirePing(t)
			requireTCP(t, k)
			requireMTU(t, k)
			requireCounted(t, l, u)

			// SIGTERM of the client closes; nothing may stay behind.
			require.NoError(t, k.nsc.Stop(5*time.Second))
			eventually(t, 5*time.Second, "interfaces of the connection are gone", func() bool {
				return len(interfaces(t, k.nsc.Pod)) == 0 && len(interfaces(t, k.nse.Pod)) == 0
			})
			for _, n := range l.Nodes {
				s := statusOf(t, n)
				require.Empty(t, s.Links)
				require.Empty(t, s.Pinholes)
				require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))
			}
			require.NoError(t, k.nse.Stop(5*time.Second))
		})
	}
}

// requireTCP sends through the connection with iperf3, both ways.
func requireTCP(t *testing.T, k linked) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	server, err := lab.Background(k.nse.Pod.Path, "iperf3", "-s", "-1", "-B", endpointAddr.String())
	require.NoError(t, err)
	defer server.Kill()
	var out string
	eventually(t, 5*time.Second, "iperf3 connects", func() bool {
		out, err = lab.Run(ctx, k.nsc.Pod.Path, "iperf3", "-c", endpointAddr.String(), "-t", "2", "--bidir", "-J")
		return err == nil || !strings.Contains(out, "Connection refused")
	})
	require.NoError(t, err)
	require.NotContains(t, out, `"error"`)
}

// requireMTU sends the largest packet that the interface allows, unfragmented.
func requireMTU(t *testing.T, k linked) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	mtu := mtuOf(t, k.nsc.Pod, "nsm-1")
	for _, way := range []struct {
		from *lab.Namespace
		to   netip.Addr
	}{{k.nsc.Pod, endpointAddr}, {k.nse.Pod, clientAddr}} {
		_, err := lab.Run(ctx, way.from.Path, "ping", "-n", "-q", "-c", "2", "-i", "0.1", "-W", "2", "-M", "do",
			"-s", fmt.Sprint(mtu-28), way.to.String())
		require.NoError(t, err, "a packet of exactly %d bytes", mtu)
	}
}

func requireCounted(t *testing.T, l *lab.Lab, u useCase) {
	t.Helper()
	if !u.remote {
		return
	}
	for _, n := range l.Nodes {
		s := statusOf(t, n)
		require.Len(t, s.Links, 1)
		kinds := []string{s.Links[0].Client.Kind, s.Links[0].Endpoint.Kind}
		require.Contains(t, kinds, u.tunnel)
		require.Greater(t, s.Links[0].Client.Counters.RxPackets, uint64(10))
		require.Greater(t, s.Links[0].Endpoint.Counters.RxPackets, uint64(10))
		require.Len(t, s.Pinholes, 1)
	}
}
