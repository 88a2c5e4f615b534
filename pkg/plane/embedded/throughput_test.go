// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"testing"
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
	report, err := from.command("iperf3", append([]string{"-c", addr, "-t", strconv.Itoa(seconds), "-J"}, args...)...).Output()
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

// BenchmarkTCP is two pods on two nodes, each node a process of its own.
func BenchmarkTCP(b *testing.B) {
	u := newUnderlay(b, 1500)
	procs := [2]*process{u.startProcess(b, 0, addrs4), u.startProcess(b, 1, addrs4)}
	procs[0].pod.ping(b, "10.7.0.2")
	for range b.N {
		b.ReportMetric(iperf(b, procs[0].pod, procs[1].pod, "10.7.0.2", 4), "Gbit/s")
	}
}
