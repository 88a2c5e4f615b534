// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/lab/requester"
)

// TestAThousandConnections has them stand on one forwarder at the same time: 334
// local ones, 333 through VXLAN and as many through WireGuard. How long they take
// and what they cost is for the benchmarks to say.
func TestAThousandConnections(t *testing.T) {
	const (
		count  = 1000
		atOnce = 8
		// pinged is a prime, so that all kinds and endpoints have their turn.
		pinged = 29
	)
	l := newLab(t, lab.Config{Planes: [2]string{"embedded", "embedded"}})
	ctx := within(t, 8*time.Minute)
	require.NoError(t, l.StartRegistry(ctx))
	for _, n := range l.Nodes {
		require.NoError(t, n.StartNSMgr(ctx))
		require.NoError(t, n.StartForwarder(ctx, map[string]string{
			"NSM_PPROF_ENABLED": "true", "NSM_PPROF_LISTEN_ON": profiles,
		}))
	}
	f, err := requester.NewFleet(ctx, l)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })

	// A few before the measurement let every pool and cache fill.
	require.NoError(t, f.Grow(ctx, 60, atOnce))
	require.NoError(t, f.Shrink(ctx, 0, atOnce))
	requireNothingLeft(t, l, f.Pods()...)
	before, memory := footprints(t, l), resident(t, l)

	started := time.Now()
	require.NoError(t, f.Grow(ctx, count, atOnce))
	t.Logf("%d connections made in %.1f s", count, time.Since(started).Seconds())
	require.Len(t, statusOf(t, l.Nodes[0]).Links, count)
	remote := 0
	for _, s := range f.Standing {
		if s.Kind.Remote {
			remote++
		}
	}
	require.Len(t, statusOf(t, l.Nodes[1]).Links, remote)
	for i, now := range resident(t, l) {
		t.Logf("forwarder %d: %.0f kB a connection", i+1, float64(now-memory[i])/1e3/float64([]int{count, remote}[i]))
	}
	for i := 0; i < count; i += pinged {
		s := f.Standing[i]
		_, to, err := requester.Addresses(s.Connection)
		require.NoError(t, err)
		out, err := lab.Ping(ctx, s.Pod.Namespace, to, 3)
		require.NoError(t, err, "connection %d, %s", i, s.Kind.Name)
		require.Contains(t, out, " 0% packet loss")
	}

	started = time.Now()
	require.NoError(t, f.Shrink(ctx, 0, atOnce))
	t.Logf("%d connections closed in %.1f s", count, time.Since(started).Seconds())
	requireNothingLeft(t, l, f.Pods()...)
	// Of what a connection takes, 3 %: maps and Go's runtime keep the room for entries and
	// goroutines that are gone.
	requireNoGrowth(t, l, before, count*16<<10)
}

// resident is the memory of the forwarders that is in RAM, in bytes.
func resident(t *testing.T, l *lab.Lab) (all []int) {
	t.Helper()
	for _, n := range l.Nodes {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(n.Forwarder.PID()) + "/statm")
		require.NoError(t, err)
		pages, err := strconv.Atoi(strings.Fields(string(text))[1])
		require.NoError(t, err)
		all = append(all, pages*os.Getpagesize())
	}
	return all
}
