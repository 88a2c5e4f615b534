// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"encoding/json"
	"fmt"
	"net/netip"
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
	// tunnel is the kind of port that carries it between the nodes, as the
	// status calls it.
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
// connected. Each use case has a name of its own in its lab.
func link(t *testing.T, l *lab.Lab, u useCase) linked {
	t.Helper()
	k := linked{nse: startEndpoint(t, l, u), nsc: startClient(t, l, u)}
	require.NoError(t, k.nsc.AwaitConnected(within(t, 20*time.Second)))
	return k
}

func startEndpoint(t *testing.T, l *lab.Lab, u useCase) *lab.Endpoint {
	t.Helper()
	node := l.Nodes[0]
	if u.remote {
		node = l.Nodes[1]
	}
	nse, err := node.StartEndpoint(within(t, 10*time.Second), "nse-"+u.name,
		lab.Service{Name: u.name, Payload: u.payload, CIDR: cidr}, nil)
	require.NoError(t, err)
	return nse
}

func startClient(t *testing.T, l *lab.Lab, u useCase) *lab.Client {
	t.Helper()
	nsc, err := l.Nodes[0].StartClient("nsc-"+u.name, "kernel://"+u.name+"/nsm-1", nil)
	require.NoError(t, err)
	return nsc
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
			requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
			require.NoError(t, k.nse.Stop(5*time.Second))
		})
	}
	for _, n := range l.Nodes {
		requireForwarderLeavesNothing(t, n)
	}
}

// requireTCP sends through the connection with iperf3, both ways.
func requireTCP(t *testing.T, k linked) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	server, err := lab.Background(k.nse.Pod.Path, "iperf3", "-s", "-1", "-B", endpointAddr.String())
	require.NoError(t, err)
	defer server.Kill()
	eventually(t, 5*time.Second, "iperf3 listens", func() bool { return listens(t, k.nse.Pod, 5201) })
	out, err := lab.Run(ctx, k.nsc.Pod.Path, "iperf3", "-c", endpointAddr.String(), "-t", "1", "--bidir", "-J")
	require.NoError(t, err)
	var report struct {
		End struct {
			Forth iperfSum `json:"sum_received"`
			Back  iperfSum `json:"sum_received_bidir_reverse"`
		} `json:"end"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	t.Logf("TCP: %.2f Gbit/s forth and %.2f Gbit/s back at the same time",
		report.End.Forth.BitsPerSecond/1e9, report.End.Back.BitsPerSecond/1e9)
	require.Positive(t, report.End.Forth.Bytes, "bytes from client to endpoint")
	require.Positive(t, report.End.Back.Bytes, "bytes from endpoint to client")
}

type iperfSum struct {
	Bytes         uint64  `json:"bytes"`
	BitsPerSecond float64 `json:"bits_per_second"`
}

// listens reports whether a TCP socket of the pod listens on the port.
func listens(t *testing.T, pod *lab.Namespace, port int) bool {
	t.Helper()
	out, err := lab.Run(within(t, 5*time.Second), pod.Path, "ss", "-Hltn", fmt.Sprintf("sport = :%d", port))
	require.NoError(t, err)
	return out != ""
}

// requireMTU sends the largest packet that the interface allows, unfragmented.
func requireMTU(t *testing.T, k linked) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	mtu := linkIn(t, k.nsc.Pod, "nsm-1").MTU
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
