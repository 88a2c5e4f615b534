// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// iperf is a stream of a second between two namespaces, in Gbit/s.
func iperf(b *testing.B, from, to *namespace, addr string, args ...string) float64 {
	b.Helper()
	server := to.command("iperf3", "-s", "-1", "--forceflush")
	out, err := server.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, server.Start())
	_, err = out.Read(make([]byte, 64)) // it listens
	require.NoError(b, err)
	report := from.run(b, "iperf3", append([]string{"-c", addr, "-t", "1", "-J"}, args...)...)
	_ = server.Wait()
	var r struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	require.NoError(b, json.Unmarshal([]byte(report), &r))
	return r.End.Received.BitsPerSecond / 1e9
}

// ratio measures the plane's link and bare devices by turns, and reports the
// medians: others use the machine too.
func ratio(b *testing.B, ours, bare func() float64) {
	const rounds = 11
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	for b.Loop() {
		var a, c, ratios []float64
		for range rounds {
			a, c = append(a, ours()), append(c, bare())
			ratios = append(ratios, a[len(a)-1]/c[len(c)-1])
		}
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(median(a), "Gbit/s")
		b.ReportMetric(median(c), "Gbit/s-bare")
	}
	b.ReportMetric(0, "ns/op")
}

func join(b *testing.B, p *Plane, payload plane.Payload, client, endpoint plane.Port) {
	b.Helper()
	_, err := p.Join(b.Context(), &plane.Connection{ID: endpoint.String(), Payload: payload, MTU: 1420, Client: client, Endpoint: endpoint})
	require.NoError(b, err)
}

// BenchmarkTCP compares with devices that iproute2 makes with its own settings,
// and with wireguard-go's own program. Both ends of ours share a process; those
// of wireguard-go do not.
func BenchmarkTCP(b *testing.B) {
	b.Run("veth", func(b *testing.B) {
		u := newUnderlay(b)
		p := u.start(b, 0, addrs4)
		pods := [2]*namespace{newNamespace(b), newNamespace(b)}
		join(b, p, plane.Ethernet, pods[0].port(b, "nsm-1"), pods[1].port(b, "nse-1"))
		pods[0].run(b, "ip", "link", "add", "bare", "mtu", "1420", "type", "veth", "peer", "name", "bare", "mtu", "1420", "netns", pods[1].path)
		for i, name := range []string{"nsm-1", "nse-1"} {
			pods[i].addr(b, name, fmt.Sprintf("10.7.0.%d/24", i+1))
			pods[i].addr(b, "bare", fmt.Sprintf("10.8.0.%d/24", i+1))
		}
		for _, pod := range pods {
			pod.run(b, "ip", "link", "set", "bare", "up")
		}
		ratio(b, func() float64 { return iperf(b, pods[0], pods[1], "10.7.0.2") },
			func() float64 { return iperf(b, pods[0], pods[1], "10.8.0.2") })
	})
	for name, nodes := range map[string][2]netip.Addr{"VXLAN, IPv4": addrs4, "VXLAN, IPv6": addrs6} {
		b.Run(name, func(b *testing.B) {
			u := newUnderlay(b)
			pods := [2]*namespace{newNamespace(b), newNamespace(b)}
			for i, pod := range pods {
				join(b, u.start(b, i, nodes), plane.Ethernet, pod.port(b, "nsm-1"), tunnel(i, vni, nodes))
				u.nodes[i].run(b, "ip", "link", "add", "bare", "mtu", "1420", "type", "vxlan", "id", "43", "dev", "eth0",
					"local", nodes[i].String(), "remote", nodes[1-i].String(), "dstport", "4789")
				u.nodes[i].run(b, "ip", "link", "set", "bare", "netns", pod.path)
				pod.run(b, "ip", "link", "set", "bare", "up")
				pod.addr(b, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1))
				pod.addr(b, "bare", fmt.Sprintf("10.8.0.%d/24", i+1))
			}
			ratio(b, func() float64 { return iperf(b, pods[0], pods[1], "10.7.0.2") },
				func() float64 { return iperf(b, pods[0], pods[1], "10.8.0.2") })
		})
	}
	b.Run("WireGuard", func(b *testing.B) {
		u := newUnderlay(b)
		pods := [2]*namespace{newNamespace(b), newNamespace(b)}
		for i, pod := range pods {
			join(b, u.start(b, i, addrs4), plane.IP, pod.port(b, "nsm-1"), guarded(i, 1, addrs4, i == 1))
			pod.addr(b, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1))
			u.wireguardGo(b, i)
		}
		u.nodes[0].run(b, "ping", "-c", "1", "10.8.0.2") // the handshake
		ratio(b, func() float64 { return iperf(b, pods[0], pods[1], "10.7.0.2") },
			func() float64 { return iperf(b, u.nodes[0], u.nodes[1], "10.8.0.2") })
	})
}

// wireguardGo runs wireguard-go's own program on node i, with 10.8.0.<i+1>.
func (u *underlay) wireguardGo(b *testing.B, i int) {
	b.Helper()
	for _, tool := range []string{"wireguard-go", "wg"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed", tool)
		}
	}
	// Names of its control socket are the machine's, not the namespace's.
	name := fmt.Sprintf("wg%d%c", os.Getpid(), 'a'+i)
	daemon := u.nodes[i].command("wireguard-go", "-f", name)
	daemon.Env = append(os.Environ(), "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD=1")
	require.NoError(b, daemon.Start())
	b.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	})
	k := keys(2)
	file := filepath.Join(b.TempDir(), "key")
	require.NoError(b, os.WriteFile(file, []byte(k[i].private.String()), 0o600))
	require.Eventually(b, func() bool {
		return u.nodes[i].command("wg", "set", name, "listen-port", "51821", "private-key", file,
			"peer", k[1-i].public.String(), "endpoint", addrs4[1-i].String()+":51821", "allowed-ips", "0.0.0.0/0").Run() == nil
	}, 10*time.Second, 20*time.Millisecond)
	u.nodes[i].addr(b, name, fmt.Sprintf("10.8.0.%d/24", i+1))
	u.nodes[i].run(b, "ip", "link", "set", name, "mtu", "1420", "up")
}

// BenchmarkJoin is set-up and removal of a connection.
func BenchmarkJoin(b *testing.B) {
	u := newUnderlay(b)
	p := u.start(b, 0, addrs4)
	pods := [2]*namespace{newNamespace(b), newNamespace(b)}
	for _, c := range []plane.Connection{
		{ID: "veth", Payload: plane.Ethernet, Endpoint: pods[1].port(b, "nse-1")},
		{ID: "VXLAN", Payload: plane.Ethernet, Endpoint: tunnel(0, vni, addrs4)},
		{ID: "WireGuard", Payload: plane.IP, Endpoint: guarded(0, 1, addrs4, false)},
	} {
		c.Client = pods[0].port(b, "nsm-"+strings.ToLower(c.ID)[:2])
		b.Run(c.ID, func(b *testing.B) {
			for b.Loop() {
				_, err := p.Join(b.Context(), &c)
				require.NoError(b, err)
				require.NoError(b, p.Leave(b.Context(), c.ID))
			}
		})
	}
}
