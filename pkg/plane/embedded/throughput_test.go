// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"
)

// iperf runs a stream between two namespaces and returns Gbit/s.
func iperf(t testing.TB, from, to *namespace, addr string, seconds int, args ...string) float64 {
	t.Helper()
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Skip("iperf3 is not installed")
	}
	server := to.command("iperf3", "-s", "-1", "--forceflush")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Wait()
	if _, err := out.Read(make([]byte, 64)); err != nil { // it listens
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 4096)
		for {
			if _, err := out.Read(b); err != nil {
				return
			}
		}
	}()
	client := from.command("iperf3", append([]string{"-c", addr, "-t", strconv.Itoa(seconds), "-J"}, args...)...)
	// A client that has lost its server waits for ever.
	hung := time.AfterFunc(time.Duration(seconds+10)*time.Second, func() { _ = client.Process.Kill() })
	defer hung.Stop()
	report, err := client.Output()
	if err != nil {
		_ = server.Process.Kill()
		t.Fatalf("iperf3: %v: %s", err, report)
	}
	var r struct {
		End struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sent struct {
				Retransmits int
			} `json:"sum_sent"`
		}
	}
	if err := json.Unmarshal(report, &r); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d retransmits", r.End.Sent.Retransmits)
	return r.End.Received.BitsPerSecond / 1e9
}

// BenchmarkTCP is a stream between two pods on two nodes, each node a process of
// its own. "Linux" is what the kernel makes of it by itself: a VXLAN device in
// each pod's place, and no XDP program on the way.
func BenchmarkTCP(b *testing.B) {
	for _, c := range []struct {
		name      string
		wireguard bool
		args      []string
	}{
		{"VXLAN", false, nil},
		{"VXLAN, 4 streams", false, []string{"-P", "4"}},
		{"WireGuard", true, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			u := newUnderlay(b, 1500)
			procs := [2]*process{u.startProcess(b, 0, addrs4, c.wireguard), u.startProcess(b, 1, addrs4, c.wireguard)}
			procs[0].pod.ping(b, "10.7.0.2")
			for b.Loop() {
				b.ReportMetric(iperf(b, procs[0].pod, procs[1].pod, "10.7.0.2", 4, c.args...), "Gbit/s")
			}
			b.ReportMetric(0, "ns/op")
			for i, p := range procs {
				b.ReportMetric(p.resident(b), fmt.Sprintf("MB-node%d", i))
			}
		})
	}
	b.Run("Linux", func(b *testing.B) {
		u := newUnderlay(b, 1500)
		u.kernelVXLAN(b, 0, 42, addrs4, "10.7.0.1/24")
		u.kernelVXLAN(b, 1, 42, addrs4, "10.7.0.2/24")
		u.nodes[0].ping(b, "10.7.0.2")
		for b.Loop() {
			b.ReportMetric(iperf(b, u.nodes[0], u.nodes[1], "10.7.0.2", 4), "Gbit/s")
		}
		b.ReportMetric(0, "ns/op")
	})
}

// resident is the resident memory of the process in MB.
func (p *process) resident(t testing.TB) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return float64(resident*os.Getpagesize()) / 1e6
}

// BenchmarkRoundTrip is UDP of 64 bytes, to a pod on another node and back:
// one after the other, and with a pause in which all fall asleep.
func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name      string
		wireguard bool
	}{{"VXLAN", false}, {"WireGuard", true}} {
		u := newUnderlay(b, 1500)
		procs := [2]*process{u.startProcess(b, 0, addrs4, c.wireguard), u.startProcess(b, 1, addrs4, c.wireguard)}
		procs[0].pod.ping(b, "10.7.0.2")
		conn := procs[0].pod.dialUDP(b, procs[1].pod.echo(b, "10.7.0.2"), true)
		for name, pause := range map[string]time.Duration{"busy": 0, "idle": 2 * time.Millisecond} {
			b.Run(c.name+", "+name, func(b *testing.B) {
				var times []time.Duration
				payload := make([]byte, 64)
				for b.Loop() {
					time.Sleep(pause)
					start := time.Now()
					if err := roundTrip(conn, payload); err != nil {
						b.Fatal(err)
					}
					times = append(times, time.Since(start))
				}
				slices.Sort(times)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, "us-p50")
				b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "us-p99")
			})
		}
	}
}
