// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

// memifLab is a lab with a use case that is up.
func memifLab(t *testing.T, name string, env map[string]string) (*lab.Lab, *lab.Linked) {
	t.Helper()
	l := startLab(t, lab.Config{Planes: [2]string{"embedded", "embedded"}})
	c, err := usecase.Find(name)
	require.NoError(t, err)
	k, err := l.Link(within(t, 20*time.Second), c, env)
	require.NoError(t, err)
	require.NoError(t, k.AwaitUp(within(t, 40*time.Second)))
	return l, k
}

// pings tells whether the client's program gets an answer.
func pings(t *testing.T, k *lab.Linked, to netip.Addr) bool {
	t.Helper()
	_, err := lab.Run(within(t, 10*time.Second), k.Client.Pod.Path, filepath.Join(bin, "nsc"), "ping", "-q", "-c", "1", "-W", "1", to.String())
	return err == nil
}

// The client notices by its own stack that the endpoint is dead, and finds another.
func TestMemifPodsHealToAnotherEndpoint(t *testing.T) {
	t.Parallel()
	l, k := memifLab(t, "Memif2Ethernet2Memif", nil)
	_, err := l.Nodes[1].StartEndpoint(within(t, 10*time.Second), "nse-spare",
		lab.Service{Name: k.Service, Payload: string(k.Payload), CIDR: "172.16.2.100/31"}, map[string]string{"NSM_MECHANISM": "memif"})
	require.NoError(t, err)
	k.Endpoint.Kill()
	spare := netip.MustParseAddr("172.16.2.100")
	eventually(t, 20*time.Second, "the spare endpoint answers", func() bool { return pings(t, k, spare) })
}

// A client whose program dies and comes back takes its connection over.
func TestAMemifClientGoesOnWithItsConnection(t *testing.T) {
	t.Parallel()
	l, k := memifLab(t, "Memif2Ethernet2Memif", lab.Calm())
	before := statusOf(t, l.Nodes[0]).Links
	require.Len(t, before, 1)
	// The pod stays, as one with a crashed container does.
	pause, err := lab.Background(k.Client.Pod.Path, "sleep", "60")
	require.NoError(t, err)
	defer pause.Kill()
	k.Client.Kill()
	to := k.Ways()[0].To
	require.False(t, pings(t, k, to), "there is no stack without the program")
	require.NoError(t, k.Client.Start())
	eventually(t, 20*time.Second, "the endpoint answers again", func() bool { return pings(t, k, to) })
	require.True(t, k.Client.LogContains("going on with 1 existing connections"))
	after := statusOf(t, l.Nodes[0]).Links
	require.Len(t, after, 1)
	require.Equal(t, before[0].ID, after[0].ID)
}

// Two memif pods find each other again after the death of either forwarder.
func TestMemifPodsOutliveForwarders(t *testing.T) {
	t.Parallel()
	l, k := memifLab(t, "Memif2IP2Memif", lab.Calm())
	for _, n := range l.Nodes {
		n.Forwarder.Kill()
		require.NoError(t, n.RestartForwarder(within(t, 10*time.Second)))
		for _, w := range k.Ways() {
			eventually(t, 30*time.Second, w.Command(), func() bool {
				_, err := w.PingLossless(within(t, 10*time.Second), 3, 56)
				return err == nil
			})
		}
		out, err := lab.Run(within(t, 30*time.Second), k.Client.Pod.Path, filepath.Join(bin, "nsc"), "iperf", "-J", "-t", "1", k.Ways()[0].To.String())
		require.NoError(t, err, out)
	}
}
