// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

// The kernel plane has no memif. A client that wants nothing else learns so and
// what to do; others are served.
func TestAClientThatInsistsOnMemifIsToldWhyThereIsNone(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}})
	k := link(t, l, localCase)
	nsc, err := l.Nodes[0].StartClient("nsc-memif", "memif://"+localCase.name+"/nsm-1", nil)
	require.NoError(t, err)
	awaitRefusal(t, nsc, "mechanism MEMIF: not supported by this forwarder: this node's forwarding plane (kernel) moves packets "+
		"with Linux devices only; ask for kernel://... or run the forwarder with NSM_FORWARDING_PLANE=embedded")
	require.NoError(t, nsc.Stop(5*time.Second))
	require.Empty(t, links(t, nsc.Pod))
	k.requirePing(t)
}

// An endpoint that takes nothing but memif cannot be served either, and its clients
// learn why.
func TestClientsOfAnEndpointThatInsistsOnMemifAreToldWhyThereIsNone(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}})
	u := useCase{"memif-only", "ETHERNET", false}
	_, err := l.Nodes[0].StartEndpoint(within(t, 10*time.Second), "nse-"+u.name,
		lab.Service{Name: u.name, Payload: u.payload, CIDR: cidr}, map[string]string{"NSM_MECHANISM": "memif"})
	require.NoError(t, err)
	nsc := startClient(t, l, u)
	awaitRefusal(t, nsc, "mechanism MEMIF was not offered to the endpoint: not supported by this forwarder: this node's forwarding plane (kernel)")
	require.NoError(t, nsc.Stop(5*time.Second))
	require.Empty(t, links(t, nsc.Pod))
}

// Programs with memif find their peer again, and VLANs are held again, when a
// forwarder dies and comes back: the next refresh has it make everything anew.
func TestMemifAndVLANOutliveAForwarder(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{Planes: [2]string{"embedded", "embedded"}, Switch: true})
	var ways []lab.Way
	for _, name := range []string{
		"Kernel2Memif", "Memif2Kernel", "Kernel2Ethernet2Memif", "Memif2Ethernet2Kernel", "Memif2IP2Kernel", "Kernel2RVlan",
	} {
		c, err := usecase.Find(name)
		require.NoError(t, err)
		k, err := l.Link(within(t, 20*time.Second), c, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			t.Logf("without %s: %v", name, err)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, k.Client.AwaitConnected(within(t, 20*time.Second)))
		for _, w := range k.Ways() {
			if !w.Memif {
				ways = append(ways, w)
			}
		}
	}
	requireAll := func() {
		t.Helper()
		for _, w := range ways {
			eventually(t, 20*time.Second, w.Command(), func() bool {
				_, err := w.PingLossless(within(t, 10*time.Second), 3, 56)
				return err == nil
			})
		}
	}
	requireAll()
	for _, n := range l.Nodes {
		joined := len(statusOf(t, n).Links)
		n.Forwarder.Kill()
		require.NoError(t, n.RestartForwarder(within(t, 10*time.Second)))
		requireAll()
		eventually(t, 10*time.Second, "the connections before the restart are gone", func() bool {
			return len(statusOf(t, n).Links) == joined
		})
	}
}

// The end of a pod is seen whatever its program was attached by: nobody is left
// to close the connection.
func TestDeathOfAMemifPodIsNoticed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Memif2Memif", "Memif2Ethernet2Memif"} {
		for _, side := range []string{"client", "endpoint"} {
			t.Run(side+" of "+name, func(t *testing.T) {
				t.Parallel()
				l := startLab(t, lab.Config{Planes: [2]string{"embedded", "embedded"}})
				c, err := usecase.Find(name)
				require.NoError(t, err)
				k, err := l.Link(within(t, 20*time.Second), c, lab.Calm())
				require.NoError(t, err)
				require.NoError(t, k.Client.AwaitConnected(within(t, 20*time.Second)))
				require.NotEmpty(t, statusOf(t, l.Nodes[0]).Links)
				if side == "client" {
					k.Client.Kill()
				} else {
					k.Endpoint.Kill() // the client finds no other
				}
				for _, n := range l.Nodes {
					eventually(t, 15*time.Second, "the connection is closed", func() bool { return len(statusOf(t, n).Links) == 0 })
				}
			})
		}
	}
}
