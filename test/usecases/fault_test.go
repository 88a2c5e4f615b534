// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

var (
	localCase = useCase{"kernel2kernel", "ETHERNET", false}
	vxlanCase = useCase{"kernel2ethernet2kernel", "ETHERNET", true}
	wgCase    = useCase{"kernel2ip2kernel", "IP", true}
)

// answers reports whether one ping from the client is answered at once.
func (k linked) answers(t *testing.T, to netip.Addr) bool {
	t.Helper()
	_, err := lab.Run(t.Context(), k.nsc.Pod.Path, "ping", "-n", "-q", "-c", "1", "-W", "0.2", to.String())
	return err == nil
}

// requireNoLossFor pings a hundred times a second for a while.
func (k linked) requireNoLossFor(t *testing.T, d time.Duration) {
	t.Helper()
	out, err := lab.Run(t.Context(), k.nsc.Pod.Path, "ping", "-n", "-q", "-W", "2",
		"-i", "0.01", "-c", fmt.Sprint(int(d/(10*time.Millisecond))), endpointAddr.String())
	require.NoError(t, err)
	require.Contains(t, out, " 0% packet loss")
}

func TestRefreshLosesNoPacket(t *testing.T) {
	t.Parallel()
	// With tokens of 5 s the client refreshes every second or so.
	l := startLab(t, lab.Config{MaxTokenLifetime: 5 * time.Second})
	k := link(t, l, vxlanCase)
	before := statusOf(t, l.Nodes[0]).Links
	require.Len(t, before, 1)
	k.requireNoLossFor(t, 8*time.Second)
	after := statusOf(t, l.Nodes[0]).Links
	require.Len(t, after, 1, "without a refresh the tokens would have run out")
	require.Equal(t, before[0].ID, after[0].ID)
	require.Equal(t, before[0].Endpoint.Description, after[0].Endpoint.Description, "a refresh changes nothing")
}

func TestConnectionsOutliveTheirSVIDs(t *testing.T) {
	t.Parallel()
	const ttl = 8 * time.Second
	l := startLab(t, lab.Config{SVIDLifetime: ttl, MaxTokenLifetime: ttl})
	k := link(t, l, vxlanCase)
	wg := link(t, l, wgCase)
	id := statusOf(t, l.Nodes[0]).Links[0].ID
	// Every program gets several SVIDs meanwhile.
	k.requireNoLossFor(t, 2*ttl)
	wg.requirePing(t)
	links := statusOf(t, l.Nodes[0]).Links
	require.Len(t, links, 2)
	require.Contains(t, []string{links[0].ID, links[1].ID}, id, "the connection is still the same one")

	late := vxlanCase
	late.name = "after-rotation"
	link(t, l, late).requirePing(t)
}

func TestClientDeathTimesOut(t *testing.T) {
	t.Parallel()
	const lifetime = 5 * time.Second
	l := startLab(t, lab.Config{MaxTokenLifetime: lifetime})
	k := link(t, l, vxlanCase)
	// The pod lives on without its client, as a pod with a crashed container.
	pause, err := lab.Background(k.nsc.Pod.Path, "sleep", "60")
	require.NoError(t, err)
	defer pause.Kill()
	k.nsc.Kill()
	took := eventually(t, 3*lifetime, "the connection timed out on both nodes", func() bool {
		return len(statusOf(t, l.Nodes[0]).Links) == 0 && len(statusOf(t, l.Nodes[1]).Links) == 0
	})
	require.Greater(t, took, time.Second, "it was closed before its token ran out")
	requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
}

func TestClientPodDeathIsNoticed(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{})
	for _, u := range []useCase{localCase, vxlanCase} {
		k := link(t, l, u)
		require.NoError(t, l.RemovePod(k.nsc.Pod))
		eventually(t, 5*time.Second, "the connection is closed", func() bool {
			return len(statusOf(t, l.Nodes[0]).Links) == 0 && len(statusOf(t, l.Nodes[1]).Links) == 0
		})
		requireNothingLeft(t, l, k.nse.Pod)
		require.NoError(t, k.nse.Stop(5*time.Second))
	}
}

func TestEndpointDeathHealsToAnother(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{})
	k := link(t, l, vxlanCase)
	_, err := l.Nodes[1].StartEndpoint(within(t, 10*time.Second), "nse-spare",
		lab.Service{Name: vxlanCase.name, Payload: vxlanCase.payload, CIDR: "172.16.2.100/31"}, nil)
	require.NoError(t, err)

	require.NoError(t, l.RemovePod(k.nse.Pod))
	spare := netip.MustParseAddr("172.16.2.100")
	took := eventually(t, 15*time.Second, "the client reaches the other endpoint", func() bool {
		return k.answers(t, spare)
	})
	t.Logf("healed after %.2f s", took.Seconds())
	eventually(t, 5*time.Second, "the dead endpoint's link is gone", func() bool {
		return len(statusOf(t, l.Nodes[1]).Links) == 1
	})
}
