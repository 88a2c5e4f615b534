// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// watchedPing pings until stop, which fails the test if a packet got lost.
func watchedPing(t *testing.T, from *namespace, to string) (stop func()) {
	t.Helper()
	ping := from.command("ping", "-n", "-i", "0.005", "-w", "20", to)
	out, err := ping.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, ping.Start())
	lines := bufio.NewScanner(out)
	for range 3 { // it runs
		require.True(t, lines.Scan())
	}
	var count atomic.Int64
	answered := make(chan []int)
	go func() {
		var all []int
		for lines.Scan() {
			if _, seq, ok := strings.Cut(lines.Text(), "icmp_seq="); ok {
				n, _ := strconv.Atoi(strings.Fields(seq)[0])
				all = append(all, n)
				count.Add(1)
			}
		}
		answered <- all
	}()
	return func() {
		t.Helper()
		before := count.Load()
		require.Eventually(t, func() bool { return count.Load() >= before+20 }, 10*time.Second, time.Millisecond)
		// nsenter has become ping. What it sent last may be on its way.
		require.NoError(t, ping.Process.Signal(os.Interrupt))
		all := <-answered
		_ = ping.Wait()
		require.Equal(t, len(all), all[len(all)-1]-all[0]+1, "answers are missing in %v", all)
	}
}

// A plane that is gone without a word, and one that was told to keep its links,
// leave devices that the next one takes over.
func TestAdoption(t *testing.T) {
	for _, c := range []struct {
		name string
		// end leaves the plane.
		end func(t *testing.T, p *Plane)
	}{
		{"after a kill", func(_ *testing.T, p *Plane) { p.forgetAll() }},
		{"after Close with KeepLinks", func(t *testing.T, p *Plane) { require.NoError(t, p.Close()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnderlay(t)
			keep := func(cfg *Config) { cfg.KeepLinks = true }
			p, peer := u.start(t, 0, addrs4, keep), u.start(t, 1, addrs4)
			pods := [2]*namespace{newNamespace(t), newNamespace(t)}
			near := newNamespace(t)
			remote := &plane.Connection{ID: "remote", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-1"), Endpoint: tunnel(0, vni, addrs4)}
			local := &plane.Connection{ID: "local", Payload: plane.Ethernet, Client: pods[0].port(t, "nsm-2"), Endpoint: near.port(t, "nse-1")}
			for _, conn := range []*plane.Connection{remote, local} {
				_, err := p.Join(t.Context(), conn)
				require.NoError(t, err)
			}
			_, err := peer.Join(t.Context(), &plane.Connection{
				ID: "remote", Payload: plane.Ethernet, Client: tunnel(1, vni, addrs4), Endpoint: pods[1].port(t, "nse-1"),
			})
			require.NoError(t, err)
			pods[0].addr(t, "nsm-1", "10.7.0.1/24")
			pods[1].addr(t, "nse-1", "10.7.0.2/24")
			pods[0].addr(t, "nsm-2", "10.8.0.1/24")
			near.addr(t, "nse-1", "10.8.0.2/24")
			pods[0].ping(t, "10.7.0.2")
			pods[0].ping(t, "10.8.0.2")
			indices := []int{pods[0].index(t, "nsm-1"), pods[0].index(t, "nsm-2"), near.index(t, "nse-1")}
			counted := p.Links()[1].Endpoint.Counters

			stop := []func(){watchedPing(t, pods[0], "10.7.0.2"), watchedPing(t, pods[0], "10.8.0.2")}
			c.end(t, p)
			again := u.start(t, 0, addrs4)
			for _, conn := range []*plane.Connection{remote, local} {
				_, err := again.Join(t.Context(), conn)
				require.NoError(t, err)
			}
			pods[0].ping(t, "10.7.0.2")
			for _, f := range stop {
				f()
			}
			require.Equal(t, indices, []int{pods[0].index(t, "nsm-1"), pods[0].index(t, "nsm-2"), near.index(t, "nse-1")})
			require.Greater(t, again.Links()[1].Endpoint.Counters.RxPackets, counted.RxPackets, "counters go on")

			t.Run("a device with other parameters is replaced", func(t *testing.T) {
				c.end(t, again)
				if c.name != "after a kill" {
					return // it was not told to keep its links
				}
				moved := *remote
				moved.Endpoint = tunnel(0, vni+1, addrs4)
				third := u.start(t, 0, addrs4)
				_, err := third.Join(t.Context(), &moved)
				require.NoError(t, err)
				require.NotEqual(t, indices[0], pods[0].index(t, "nsm-1"))
				// What was remote is local after the restart.
				moved.Endpoint = near.port(t, "nse-2")
				c.end(t, third)
				last := u.start(t, 0, addrs4)
				_, err = last.Join(t.Context(), &moved)
				require.NoError(t, err)
				require.Len(t, near.links(t), 2)
				// And a pair gives way to a TUN device.
				c.end(t, last)
				last = u.start(t, 0, addrs4)
				moved.Payload, moved.Endpoint = plane.IP, guarded(0, 1, addrs4, false)
				last.wgDevices = false
				_, err = last.Join(t.Context(), &moved)
				require.NoError(t, err)
				require.NoError(t, last.Close())
				require.Equal(t, []string{"nse-1"}, near.links(t), "of the other connection")
				require.NotContains(t, pods[0].links(t), "nsm-1")
			})
		})
	}
}
