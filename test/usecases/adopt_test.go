// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/status"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
)

// adopted is a use case whose link goes on without forwarders, if its devices are
// those of Linux, and is resumed by the next ones if not.
type adopted struct {
	*lab.Linked
	before [2]*status.Link // by node, nil where it has none
	index  [2]int          // of the interfaces of client and endpoint
	stop   func(t *testing.T)
}

// lasts tells whether Linux carries the packets by itself. It has WireGuard
// devices only if the kernel does.
func (a *adopted) lasts() bool { return a.before[0].Path != "wireguard-go" }

func adoptable(t *testing.T, l *lab.Lab, name string) *adopted {
	t.Helper()
	c, err := usecase.Find(name)
	require.NoError(t, err)
	// Where a forwarder is the tunnel itself, it is back before the client gives the
	// connection up and asks for another one.
	patient := map[string]string{"NSM_LIVENESS_CHECK_TIMEOUT": (patience * 10 * time.Second).String()}
	linked, err := l.Link(within(t, 20*time.Second), c, patient)
	require.NoError(t, err)
	require.NoError(t, linked.Client.AwaitConnected(within(t, 40*time.Second)))
	a := &adopted{Linked: linked}
	a.before = a.links(t, l)
	a.index = a.indices(t)
	return a
}

func (a *adopted) indices(t *testing.T) (all [2]int) {
	t.Helper()
	for i, pod := range []*lab.Namespace{a.Client.Pod, a.Endpoint.Pod} {
		for _, attrs := range links(t, pod) {
			all[i] = attrs.Index
		}
	}
	return all
}

// links are the case's on both nodes, as their forwarders tell.
func (a *adopted) links(t *testing.T, l *lab.Lab) (found [2]*status.Link) {
	t.Helper()
	for i, n := range l.Nodes {
		for _, link := range statusOf(t, n).Links {
			for _, pod := range []*lab.Namespace{a.Client.Pod, a.Endpoint.Pod} {
				_, inode, err := netns.Identity(pod.Path)
				require.NoError(t, err)
				if link.Client.NetNS == inode || link.Endpoint.NetNS == inode {
					found[i] = &link
				}
			}
		}
	}
	return found
}

// back tells whether all forwarders have been asked for the link again.
func (a *adopted) back(t *testing.T, l *lab.Lab) bool {
	t.Helper()
	now := a.links(t, l)
	for i, before := range a.before {
		if (before == nil) != (now[i] == nil) || before != nil && before.Path != now[i].Path {
			return false
		}
	}
	return true
}

// requireUntouched checks that the link is the one that it was.
func (a *adopted) requireUntouched(t *testing.T, l *lab.Lab) {
	t.Helper()
	require.Equal(t, a.index, a.indices(t), "%s has the same interfaces", a.Name)
	now := a.links(t, l)
	for i, before := range a.before {
		if before == nil {
			continue
		}
		require.Equal(t, before.Path, now[i].Path)
		require.Equal(t, before.Client.Description, now[i].Client.Description)
		require.Equal(t, before.Endpoint.Description, now[i].Endpoint.Description)
		require.Greater(t, now[i].Client.Counters.RxPackets, before.Client.Counters.RxPackets, "counters go on")
		require.Greater(t, now[i].Client.Counters.TxPackets, before.Client.Counters.TxPackets, "counters go on")
	}
	a.before = now
}

// watch pings every 10 ms until stop, which wants all of it answered.
func (a *adopted) watch(t *testing.T) {
	t.Helper()
	ping := exec.Command("ping", "-n", "-i", "0.01", a.EndpointAddr().String())
	out, err := ping.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, netns.Do(a.Client.Pod.Path, ping.Start))
	t.Cleanup(func() { _ = ping.Process.Kill() })
	var count atomic.Int64
	answered := make(chan []int)
	go func() {
		var all []int
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, rest, ok := strings.Cut(lines.Text(), "icmp_seq="); ok {
				seq, _ := strconv.Atoi(strings.Fields(rest)[0])
				all = append(all, seq)
				count.Add(1)
			}
		}
		answered <- all
	}()
	a.stop = func(t *testing.T) {
		t.Helper()
		// What was sent before is answered by then; what is sent last may be on
		// its way.
		last := count.Load() + 20
		eventually(t, 10*time.Second, a.Name+": answers come", func() bool { return count.Load() >= last })
		require.NoError(t, ping.Process.Signal(os.Interrupt))
		all := <-answered
		_ = ping.Wait()
		t.Logf("%s: %d pings answered", a.Name, len(all))
		for i := 1; i < len(all); i++ {
			require.Equal(t, all[i-1]+1, all[i], "%s: the %d-th ping of %d was not answered", a.Name, all[i-1]+1, len(all))
		}
	}
}

// TestKernelPlaneOutlivesItsForwarders ends forwarders while pings run all the
// time. Not one may get lost, unless a forwarder is the tunnel itself, and no
// interface may be made again.
func TestKernelPlaneOutlivesItsForwarders(t *testing.T) {
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}})
	var all []*adopted
	for _, name := range []string{"Kernel2Kernel", "Kernel2Ethernet2Kernel", "Kernel2IP2Kernel"} {
		all = append(all, adoptable(t, l, name))
	}
	kill := func(_ *testing.T, p *lab.Process) { p.Kill() }
	stop := func(t *testing.T, p *lab.Process) { require.NoError(t, p.Stop(patience*10*time.Second)) }
	for _, victims := range []struct {
		name  string
		end   func(*testing.T, *lab.Process)
		nodes []*lab.Node
	}{
		{"both forwarders are killed", kill, l.Nodes},
		{"the client's forwarder is killed", kill, l.Nodes[:1]},
		{"the endpoint's forwarder is killed", kill, l.Nodes[1:]},
		{"both forwarders are stopped", stop, l.Nodes},
	} {
		t.Run(victims.name, func(t *testing.T) {
			for _, a := range all {
				if a.lasts() {
					a.watch(t)
				}
			}
			for _, n := range victims.nodes {
				victims.end(t, n.Forwarder)
			}
			time.Sleep(500 * time.Millisecond) // nobody is there to forward
			started := time.Now()
			for _, n := range victims.nodes {
				require.NoError(t, n.RestartForwarder(within(t, 20*time.Second)))
			}
			for _, a := range all {
				eventually(t, 30*time.Second, a.Name+" is adopted", func() bool { return a.back(t, l) })
			}
			t.Logf("adopted %v after the start", time.Since(started).Round(time.Millisecond))
			for _, a := range all {
				if a.lasts() {
					a.stop(t)
					a.requireUntouched(t, l)
					continue
				}
				// The tunnel ended with wireguard-go, and is resumed.
				a.awaitPackets(t)
				require.Equal(t, a.index, a.indices(t), "%s has the same interfaces", a.Name)
			}
		})
	}
	for _, a := range all {
		require.NoError(t, a.Client.Stop(10*time.Second))
	}
	requireNothingLeft(t, l, podsOf(all)...)
	for _, n := range l.Nodes {
		requireForwarderLeavesNothing(t, n)
		requireNothingWrittenDown(t, n)
	}
}

func podsOf(all []*adopted) (pods []*lab.Namespace) {
	for _, a := range all {
		pods = append(pods, a.Client.Pod, a.Endpoint.Pod)
	}
	return pods
}

// requireNothingWrittenDown checks that a forwarder's next run will look for no
// interfaces.
func requireNothingWrittenDown(t *testing.T, n *lab.Node) {
	t.Helper()
	require.NoDirExists(t, fmt.Sprint(n.Dir, "/forwarder.state.links"))
}

// TestKernelPlaneRemovesWhatNobodyAsksFor has clients end while nobody could
// close their connections: the devices go when no token speaks for them any more.
func TestKernelPlaneRemovesWhatNobodyAsksFor(t *testing.T) {
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}, MaxTokenLifetime: patience * 5 * time.Second})
	var all []*adopted
	for _, name := range []string{"Kernel2Ethernet2Kernel", "Kernel2IP2Kernel"} {
		a := adoptable(t, l, name)
		// A pod is still there when its programs have ended.
		pause, err := lab.Background(a.Client.Pod.Path, "sleep", "600")
		require.NoError(t, err)
		t.Cleanup(pause.Kill)
		all = append(all, a)
	}
	for _, n := range l.Nodes {
		n.Forwarder.Kill()
	}
	for _, a := range all {
		a.Client.Kill()
		require.NotEmpty(t, interfaces(t, a.Client.Pod), "%s outlives the forwarders", a.Name)
		require.NotEmpty(t, interfaces(t, a.Endpoint.Pod), "%s outlives the forwarders", a.Name)
	}
	for _, n := range l.Nodes {
		require.NoError(t, n.RestartForwarder(within(t, 20*time.Second)))
	}
	eventually(t, 30*time.Second, "the devices are gone from the pods", func() bool {
		for _, pod := range podsOf(all) {
			if len(interfaces(t, pod)) > 0 {
				return false
			}
		}
		return true
	})
	for _, n := range l.Nodes {
		requireForwarderLeavesNothing(t, n)
		requireNothingWrittenDown(t, n)
	}
}
