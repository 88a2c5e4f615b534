// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// backWithin is how soon after its start a forwarder has its connections back, as
// a rule: other tests share the processors.
const backWithin = 2 * time.Second

func TestForwarderKilledAndRestarted(t *testing.T) {
	var all []time.Duration
	for _, u := range []useCase{vxlanCase, wgCase} {
		for i, where := range []string{"client's", "endpoint's"} {
			t.Run(u.name+" on the "+where+" node", func(t *testing.T) {
				l := startLab(t, lab.Config{Planes: embeddedBoth})
				k := link(t, l, u)
				k.requirePing(t)
				for range 3 {
					all = append(all, killAndRestart(t, l, l.Nodes[i], k))
				}
				k.requirePing(t)
				require.NoError(t, k.nsc.Stop(5*time.Second))
				requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
				for _, n := range l.Nodes {
					requireForwarderLeavesNothing(t, n)
				}
			})
		}
	}
	if len(all) > 0 {
		slices.Sort(all)
		t.Logf("back after the start of the forwarder: p50 %v, slowest %v, n=%d", all[len(all)/2], all[len(all)-1], len(all))
		require.Less(t, all[len(all)/2], backWithin)
	}
}

// killAndRestart returns the time from the start of the forwarder to the first
// answered ping.
func killAndRestart(t *testing.T, l *lab.Lab, n *lab.Node, k linked) time.Duration {
	t.Helper()
	n.Forwarder.Kill()
	out, err := lab.Ping(within(t, 10*time.Second), l.Nodes[0].Namespace, l.Nodes[1].Addr, 5)
	require.NoError(t, err)
	require.Contains(t, out, " 0% packet loss", "the nodes' own traffic goes on")

	started := time.Now()
	require.NoError(t, n.RestartForwarder(within(t, 10*time.Second)))
	eventually(t, 10*time.Second, "the connection is back", func() bool { return k.answers(t, endpointAddr) })
	back := time.Since(started).Round(time.Millisecond)
	t.Logf("back %v after the start", back)
	for _, n := range l.Nodes {
		eventually(t, 5*time.Second, "the connection before the restart is gone", func() bool {
			s := statusOf(t, n)
			return len(s.Links) == 1 && len(s.Pinholes) == 1
		})
	}
	return back
}

func TestLocalConnectionSurvivesTheForwarder(t *testing.T) {
	t.Parallel()
	l := startLab(t, lab.Config{})
	k := link(t, l, localCase)
	before := linkIn(t, k.nsc.Pod, "nsm-1")
	lost := make(chan string, 1)
	go func() {
		out, err := lab.Run(t.Context(), k.nsc.Pod.Path, "ping", "-n", "-O", "-W", "2", "-i", "0.01", "-c", "300", endpointAddr.String())
		if err != nil {
			out = err.Error()
		}
		lost <- out
	}()
	n := l.Nodes[0]
	n.Forwarder.Kill()
	require.NoError(t, n.RestartForwarder(within(t, 10*time.Second)))
	eventually(t, 10*time.Second, "the forwarder knows of the connection", func() bool { return len(statusOf(t, n).Links) == 1 })
	require.Contains(t, <-lost, " 0% packet loss", "packets need no forwarder")
	require.Equal(t, before.Index, linkIn(t, k.nsc.Pod, "nsm-1").Index, "it is the same interface")

	require.NoError(t, k.nsc.Stop(5*time.Second))
	requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
}

// TestLocalConnectionClosedWhileTheForwarderIsDead has the client end while
// nobody could close its connection: the pair is removed when no token speaks
// for it any more.
func TestLocalConnectionClosedWhileTheForwarderIsDead(t *testing.T) {
	l := startLab(t, lab.Config{MaxTokenLifetime: 5 * time.Second})
	k := link(t, l, localCase)
	pause, err := lab.Background(k.nsc.Pod.Path, "sleep", "60")
	require.NoError(t, err)
	defer pause.Kill()
	l.Nodes[0].Forwarder.Kill()
	k.nsc.Kill()
	require.NotEmpty(t, interfaces(t, k.nsc.Pod), "the pair outlives the forwarder")

	require.NoError(t, l.Nodes[0].RestartForwarder(within(t, 10*time.Second)))
	eventually(t, 20*time.Second, "the pair is gone from both pods", func() bool {
		return len(interfaces(t, k.nsc.Pod)) == 0 && len(interfaces(t, k.nse.Pod)) == 0
	})
}

func TestForwarderKilledWhileItConnects(t *testing.T) {
	t.Parallel()
	// What the other node keeps of a request that was cut off, the endpoint's only
	// address for one, it keeps until the request's token has run out.
	l := startLab(t, lab.Config{Planes: embeddedBoth, MaxTokenLifetime: 5 * time.Second})
	for i, u := range slices.Repeat([]useCase{vxlanCase, wgCase, localCase}, 4) {
		n := l.Nodes[0]
		if u.remote {
			n = l.Nodes[i/3%2]
		}
		u.name = u.name + "-" + string(rune('a'+i))
		k := linked{nse: startEndpoint(t, l, u)}
		k.nsc = startClient(t, l, u)
		// A connection takes some 60 ms from the start of its client.
		moment := rand.N(120 * time.Millisecond)
		time.Sleep(moment)
		n.Forwarder.Kill()
		t.Logf("%s: killed %v after the client's start", u.name, moment)
		if u.remote {
			// Its interfaces go with a process. Those of the other node are
			// still its own.
			pod := k.nsc.Pod
			if n == l.Nodes[1] {
				pod = k.nse.Pod
			}
			eventually(t, time.Second, "interfaces in the pod are gone", func() bool { return len(links(t, pod)) == 0 })
		}
		require.Equal(t, []string{lab.UplinkName}, interfaces(t, n.Namespace))

		require.NoError(t, n.RestartForwarder(within(t, 10*time.Second)))
		require.NoError(t, k.nsc.AwaitConnected(within(t, 20*time.Second)))
		// A local connection works without the forwarder, which may not have it
		// back yet.
		eventually(t, 10*time.Second, "the connection is back and works", func() bool {
			return len(statusOf(t, n).Links) == 1 && k.answers(t, endpointAddr)
		})
		require.NoError(t, k.nsc.Stop(5*time.Second))
		requireNothingLeft(t, l, k.nsc.Pod, k.nse.Pod)
		require.NoError(t, k.nse.Stop(5*time.Second))
	}
	for _, n := range l.Nodes {
		requireForwarderLeavesNothing(t, n)
	}
}

func TestControlPlaneRestarts(t *testing.T) {
	t.Parallel()
	const lifetime = 5 * time.Second
	l := startLab(t, lab.Config{MaxTokenLifetime: lifetime})
	k := link(t, l, vxlanCase)
	for _, victim := range []struct {
		name    string
		process *lab.Process
	}{
		{"registry", l.Registry}, {"first-nsmgr", l.Nodes[0].NSMgr}, {"second-nsmgr", l.Nodes[1].NSMgr},
	} {
		t.Run(victim.name, func(t *testing.T) {
			victim.process.Kill()
			k.requirePing(t) // packets do not need the control plane
			require.NoError(t, victim.process.Start())

			// A client that comes now is served as soon as all is registered
			// again.
			started := time.Now()
			other := link(t, l, useCase{"after-" + victim.name, "ETHERNET", true})
			t.Logf("a new client was connected %.2f s after the restart", time.Since(started).Seconds())
			other.requirePing(t)
			require.NoError(t, other.nsc.Stop(5*time.Second))
			require.NoError(t, other.nse.Stop(5*time.Second))

			// The old connection outlives its tokens: refreshes find a way.
			time.Sleep(lifetime + time.Second)
			eventually(t, 5*time.Second, "the old connection works", func() bool { return k.answers(t, endpointAddr) })
			for _, n := range l.Nodes {
				eventually(t, 5*time.Second, "one connection is there", func() bool { return len(statusOf(t, n).Links) == 1 })
			}
		})
	}
}
