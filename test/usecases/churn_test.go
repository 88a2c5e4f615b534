// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// profiles is where the forwarders serve theirs, each on its own loopback.
const profiles = "127.0.0.1:6060"

func TestManyConnectionsLeaveNothing(t *testing.T) {
	t.Parallel()
	const (
		services = 10 // connections of a client, half of them VXLAN, half WireGuard
		rounds   = 20
	)
	l := newLab(t, lab.Config{})
	ctx := within(t, 3*time.Minute)
	require.NoError(t, l.StartRegistry(ctx))
	for _, n := range l.Nodes {
		require.NoError(t, n.StartNSMgr(ctx))
		require.NoError(t, n.StartForwarder(ctx, map[string]string{
			"NSM_PPROF_ENABLED": "true", "NSM_PPROF_LISTEN_ON": profiles,
		}))
	}
	var wanted []string
	var endpoints []*lab.Endpoint
	for kind, payload := range []string{"ETHERNET", "IP"} {
		var names []string
		for i := range services / 2 {
			names = append(names, fmt.Sprintf("churn-%d-%d", kind, i))
			wanted = append(wanted, fmt.Sprintf("kernel://churn-%d-%d/nsm-%d-%d", kind, i, kind, i))
		}
		nse, err := l.Nodes[1].StartEndpoint(ctx, fmt.Sprintf("nse-%d", kind), lab.Service{
			Name: strings.Join(names, ","), Payload: payload, CIDR: fmt.Sprintf("172.16.%d.0/24", kind+1),
		}, nil)
		require.NoError(t, err)
		endpoints = append(endpoints, nse)
	}

	round := 0
	upAndDown := func() {
		round++
		nsc, err := l.Nodes[0].StartClient(fmt.Sprintf("nsc-%d", round), strings.Join(wanted, ","), nil)
		require.NoError(t, err)
		require.NoError(t, nsc.AwaitConnected(within(t, 20*time.Second)))
		require.Len(t, statusOf(t, l.Nodes[0]).Links, services)
		require.NoError(t, nsc.Stop(10*time.Second))
		pods := []*lab.Namespace{nsc.Pod}
		for _, nse := range endpoints {
			pods = append(pods, nse.Pod)
		}
		requireNothingLeft(t, l, pods...)
		require.NoError(t, l.RemovePod(nsc.Pod))
	}
	// Some rounds before the measurement let every pool and cache fill.
	for range 3 {
		upAndDown()
	}
	before := footprints(t, l)
	started := time.Now()
	for range rounds {
		upAndDown()
	}
	t.Logf("%d connections up and down in %.1f s", rounds*services, time.Since(started).Seconds())
	// A megabyte is less than what 200 connections take if a tenth of what they need stays.
	requireNoGrowth(t, l, before, 1<<20)
}

// footprint is what a forwarder holds, in its process and on its node.
type footprint struct {
	FDs, Goroutines, Links, Routes, Neighbours, MapEntries int
	// Heap in bytes, after a collection.
	Heap int
}

// within says whether nothing has grown but the heap, and that by no more than slack.
func (f *footprint) within(before *footprint, slack int) bool {
	grown := *f
	grown.Heap = 0
	allowed := *before
	allowed.Heap = 0
	// What was in use at the first look may be free now, and Linux forgets neighbours.
	grown.FDs, grown.Goroutines = max(grown.FDs, allowed.FDs), max(grown.Goroutines, allowed.Goroutines)
	grown.Neighbours = max(grown.Neighbours, allowed.Neighbours)
	return grown == allowed && f.Heap <= before.Heap+slack
}

// footprints are those of both forwarders.
func footprints(t *testing.T, l *lab.Lab) (all []footprint) {
	t.Helper()
	for _, n := range l.Nodes {
		all = append(all, settled(t, n))
	}
	return all
}

// requireNoGrowth waits until the forwarders hold no more than before, but for slack
// bytes of heap.
func requireNoGrowth(t *testing.T, l *lab.Lab, before []footprint, slack int) {
	t.Helper()
	for i, n := range l.Nodes {
		var after footprint
		ok := false
		for started := time.Now(); !ok && time.Since(started) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
			after = footprintOf(t, n)
			ok = after.within(&before[i], slack)
		}
		t.Logf("node %d: before %+v, after %+v", i+1, before[i], after)
		require.True(t, ok, "node %d holds more than before", i+1)
	}
}

// settled waits until connections of the control plane that only linger are closed.
func settled(t *testing.T, n *lab.Node) footprint {
	t.Helper()
	last := footprintOf(t, n)
	eventually(t, 10*time.Second, "the forwarder rests", func() bool {
		time.Sleep(500 * time.Millisecond)
		f := footprintOf(t, n)
		same := f.FDs == last.FDs && f.Goroutines == last.Goroutines
		last = f
		return same
	})
	return last
}

func footprintOf(t *testing.T, n *lab.Node) footprint {
	t.Helper()
	var f footprint
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Forwarder.PID()))
	require.NoError(t, err)
	f.FDs = len(fds)
	f.Heap = profileNumber(t, n, "heap?gc=1&debug=1", `# HeapAlloc = (\d+)`)
	f.Goroutines = profileNumber(t, n, "goroutine?debug=1", `goroutine profile: total (\d+)`)
	if statusOf(t, n).Plane == "embedded" {
		f.MapEntries = mapEntries(t, n)
	}
	require.NoError(t, netns.Do(n.Path, func() error {
		all, err := netlink.LinkList()
		if err != nil {
			return err
		}
		f.Links = len(all)
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		f.Routes = len(routes)
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		f.Neighbours = len(neighbours)
		return err
	}))
	return f
}

// profileNumber fetches a profile of the forwarder and finds a number in it.
func profileNumber(t *testing.T, n *lab.Node, profile, pattern string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			err = netns.Do(n.Path, func() error {
				conn, err = net.Dial(network, address)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+profiles+"/debug/pprof/"+profile, http.NoBody)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	match := regexp.MustCompile(pattern).FindSubmatch(text)
	require.NotNil(t, match, "%s in profile %s", pattern, profile)
	number, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return number
}

// mapEntries counts what is in the classifier's pinned hash maps.
func mapEntries(t *testing.T, n *lab.Node) int {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(n.BPFFS(), "*", "*", "*"))
	require.NoError(t, err)
	count, maps := 0, 0
	for _, pin := range pins {
		m, err := ebpf.LoadPinnedMap(pin, &ebpf.LoadPinOptions{ReadOnly: true})
		if err != nil {
			continue // the pinned link
		}
		if kind := m.Type(); kind == ebpf.Hash || kind == ebpf.LRUHash {
			var key any
			for {
				next, err := m.NextKeyBytes(key)
				require.NoError(t, err)
				if next == nil {
					break
				}
				key = next
				count++
			}
		}
		_ = m.Close()
		maps++
	}
	require.Greater(t, maps, 3, "the classifier's maps are pinned")
	return count
}
