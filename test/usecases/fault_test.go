// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

var (
	vxlanCase = useCase{"kernel2ethernet2kernel", "ETHERNET", true, "VXLAN"}
	wgCase    = useCase{"kernel2ip2kernel", "IP", true, "WIREGUARD"}
)

// answers reports whether one ping from the client is answered.
func (k linked) answers(t *testing.T, to netip.Addr) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := lab.Run(ctx, k.nsc.Pod.Path, "ping", "-n", "-q", "-c", "1", "-W", "1", to.String())
	return err == nil
}

func TestRefreshLosesNoPacket(t *testing.T) {
	// Tokens of 5 s have the client refresh every second or so.
	l := startLab(t, lab.Config{MaxTokenLifetime: 5 * time.Second})
	k := link(t, l, vxlanCase)
	before := statusOf(t, l.Nodes[0]).Links
	out, err := lab.Run(within(t, 30*time.Second), k.nsc.Pod.Path, "ping", "-n", "-q", "-c", "800", "-i", "0.01", endpointAddr.String())
	require.NoError(t, err)
	require.Contains(t, out, " 0% packet loss")
	after := statusOf(t, l.Nodes[0]).Links
	require.Len(t, after, 1, "without a refresh the tokens would have run out")
	require.Equal(t, before[0].ID, after[0].ID)
	require.Equal(t, before[0].Endpoint.Description, after[0].Endpoint.Description, "a refresh changes nothing")
}

func TestClientDeathTimesOut(t *testing.T) {
	l := startLab(t, lab.Config{MaxTokenLifetime: 4 * time.Second})
	k := link(t, l, vxlanCase)
	// The pod lives on without its client, as a pod with a crashed container.
	pause, err := lab.Background(k.nsc.Pod.Path, "sleep", "60")
	require.NoError(t, err)
	defer pause.Kill()
	k.nsc.Kill()
	eventually(t, 15*time.Second, "the connection timed out on both nodes", func() bool {
		return len(statusOf(t, l.Nodes[0]).Links) == 0 && len(statusOf(t, l.Nodes[1]).Links) == 0
	})
	require.Empty(t, interfaces(t, k.nsc.Pod))
	require.Empty(t, interfaces(t, k.nse.Pod))
}

func TestEndpointDeathHealsToAnother(t *testing.T) {
	l := startLab(t, lab.Config{})
	k := link(t, l, vxlanCase)
	_, err := l.Nodes[1].StartEndpoint(within(t, 10*time.Second), "nse-spare",
		lab.Service{Name: vxlanCase.name, Payload: vxlanCase.payload, CIDR: "172.16.2.100/31"}, nil)
	require.NoError(t, err)

	require.NoError(t, l.RemovePod(k.nse.Pod))
	spare := netip.MustParseAddr("172.16.2.100")
	took := eventually(t, 30*time.Second, "the client reaches the other endpoint", func() bool {
		return k.answers(t, spare)
	})
	t.Logf("healed after %.1f s", took.Seconds())
	eventually(t, 5*time.Second, "the dead endpoint's link is gone", func() bool {
		return len(statusOf(t, l.Nodes[1]).Links) == 1
	})
}

func TestForwarderKilledAndRestarted(t *testing.T) {
	for _, u := range []useCase{vxlanCase, wgCase} {
		for i, where := range []string{"client's", "endpoint's"} {
			t.Run(u.name+" on the "+where+" node", func(t *testing.T) {
				l := startLab(t, lab.Config{})
				k := link(t, l, u)
				k.requirePing(t)
				node := l.Nodes[i]

				node.Forwarder.Kill()
				out, err := lab.Ping(within(t, 10*time.Second), l.Nodes[0].Namespace, l.Nodes[1].Addr, 10)
				require.NoError(t, err)
				require.Contains(t, out, " 0% packet loss", "the nodes' own traffic goes on")

				started := time.Now()
				require.NoError(t, node.RestartForwarder(within(t, 10*time.Second)))
				eventually(t, 10*time.Second, "the connection is back", func() bool { return k.answers(t, endpointAddr) })
				back := time.Since(started)
				t.Logf("back %.2f s after the start", back.Seconds())
				require.Less(t, back, 2*time.Second)
				k.requirePing(t)
				for _, n := range l.Nodes {
					s := statusOf(t, n)
					require.Len(t, s.Links, 1)
					require.Len(t, s.Pinholes, 1)
				}

				require.NoError(t, k.nsc.Stop(5*time.Second))
				requireNothingLeft(t, l, k)
			})
		}
	}
}

// requireNothingLeft checks that no link, pinhole or interface is there, and
// that the forwarders leave nothing when they end.
func requireNothingLeft(t *testing.T, l *lab.Lab, k linked) {
	t.Helper()
	eventually(t, 5*time.Second, "interfaces of the connection are gone", func() bool {
		return len(interfaces(t, k.nsc.Pod)) == 0 && len(interfaces(t, k.nse.Pod)) == 0
	})
	for _, n := range l.Nodes {
		s := statusOf(t, n)
		require.Empty(t, s.Links)
		require.Empty(t, s.Pinholes)
		require.NoError(t, n.Forwarder.Stop(10*time.Second))
		pins, err := filepath.Glob(filepath.Join(n.BPFFS(), "*", "*"))
		require.NoError(t, err)
		require.Empty(t, pins)
		require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))
		out, err := lab.Run(within(t, 5*time.Second), n.Path, "ip", "link", "show", lab.UplinkName)
		require.NoError(t, err)
		require.NotContains(t, out, "xdp")
	}
}

func TestControlPlaneRestarts(t *testing.T) {
	l := startLab(t, lab.Config{MaxTokenLifetime: 10 * time.Second})
	k := link(t, l, vxlanCase)
	restart := map[string]func() *lab.Process{
		"registry":     func() *lab.Process { return l.Registry },
		"first nsmgr":  func() *lab.Process { return l.Nodes[0].NSMgr },
		"second nsmgr": func() *lab.Process { return l.Nodes[1].NSMgr },
	}
	for _, name := range []string{"registry", "first nsmgr", "second nsmgr"} {
		t.Run(name, func(t *testing.T) {
			p := restart[name]()
			p.Kill()
			require.True(t, k.answers(t, endpointAddr), "packets do not need the control plane")
			require.NoError(t, p.Start())

			// A client that comes now is served as soon as all is registered
			// again.
			started := time.Now()
			pod := fmt.Sprintf("late-%d", started.UnixNano()%1e6)
			late := useCase{"after-" + pod, "ETHERNET", true, "VXLAN"}
			other := link(t, l, late)
			t.Logf("a new client was connected %.1f s after the restart", time.Since(started).Seconds())
			other.requirePing(t)
			require.NoError(t, other.nsc.Stop(5*time.Second))
			require.NoError(t, other.nse.Stop(5*time.Second))

			// The old connection outlives its tokens: the refresh has found a
			// way.
			time.Sleep(12 * time.Second)
			require.True(t, k.answers(t, endpointAddr))
			require.Len(t, statusOf(t, l.Nodes[0]).Links, 1)
		})
	}
}

func TestManyConnectionsLeaveNothing(t *testing.T) {
	l := startLab(t, lab.Config{})
	// A round before the measurement lets every pool and cache fill.
	upAndDown := func(n int) {
		for i := range n {
			u := []useCase{vxlanCase, wgCase}[i%2]
			u.name = fmt.Sprintf("churn-%d", i)
			k := link(t, l, u)
			require.True(t, k.answers(t, endpointAddr))
			require.NoError(t, k.nsc.Stop(5*time.Second))
			require.NoError(t, k.nse.Stop(5*time.Second))
			require.NoError(t, l.RemovePod(k.nsc.Pod))
			require.NoError(t, l.RemovePod(k.nse.Pod))
		}
	}
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	upAndDown(4)
	before := []footprint{footprintOf(t, l.Nodes[0]), footprintOf(t, l.Nodes[1])}
	upAndDown(rounds)
	for i, n := range l.Nodes {
		after := footprintOf(t, n)
		t.Logf("node %d: before %+v, after %+v", i+1, before[i], after)
		require.Equal(t, before[i].fds, after.fds, "file descriptors")
		require.Empty(t, statusOf(t, n).Links)
		require.Empty(t, statusOf(t, n).Pinholes)
		require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))
		require.Less(t, after.rss, before[i].rss+30<<20, "resident memory in bytes")
	}
}

// footprint is what a forwarder holds.
type footprint struct {
	fds int
	rss int64
}

func footprintOf(t *testing.T, n *lab.Node) footprint {
	t.Helper()
	var f footprint
	eventually(t, 5*time.Second, "descriptors settle", func() bool {
		first := countFDs(t, n)
		time.Sleep(300 * time.Millisecond)
		f.fds = countFDs(t, n)
		return f.fds == first
	})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.Forwarder.PID()))
	require.NoError(t, err)
	var size int64
	_, err = fmt.Sscan(string(text), &size, &f.rss)
	require.NoError(t, err)
	f.rss *= int64(os.Getpagesize())
	return f
}

func countFDs(t *testing.T, n *lab.Node) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Forwarder.PID()))
	require.NoError(t, err)
	return len(fds)
}
