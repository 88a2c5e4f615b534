// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// testpmd is a pod whose program is DPDK's packet forwarder, with memif ports.
type testpmd struct {
	t     testing.TB
	in    io.WriteCloser
	lines chan string
	cmd   *exec.Cmd
}

// startTestpmd runs dpdk-testpmd in a namespace, at the other ends of memif
// ports.
func startTestpmd(t testing.TB, ns *namespace, ports []plane.Memif, rings int) *testpmd {
	t.Helper()
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		t.Skip("needs dpdk-testpmd with net_memif (Debian: dpdk, librte-net-memif23)")
	}
	args := []string{"-oL", "dpdk-testpmd", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "256", "--lcores", "(0,1)@1"}
	for i, port := range ports {
		role := "server"
		if port.Master {
			role = "client"
		}
		args = append(args, "--vdev", fmt.Sprintf("net_memif%d,role=%s,id=0,rsize=10,socket-abstract=yes,socket=%s", i, role, port.Socket[1:]))
	}
	args = append(args, "--", "--total-num-mbufs=16384", "--no-lsc-interrupt", "--disable-link-check", "-i", "--no-flush-rx",
		"--forward-mode=io", fmt.Sprintf("--rxq=%d", rings), fmt.Sprintf("--txq=%d", rings))
	p := &testpmd{t: t, cmd: exec.Command("stdbuf", args...), lines: make(chan string, 4096)}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	ns.do(t, p.cmd.Start)
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(p.quit)
	p.until("^Done")
	return p
}

// until reads output up to a line that matches, and returns all of it.
func (p *testpmd) until(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	var text strings.Builder
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			fmt.Fprintln(&text, line)
			if !ok {
				p.t.Fatalf("dpdk-testpmd ended:\n%s", text.String())
			}
			if re.MatchString(line) {
				return text.String()
			}
		case <-deadline:
			p.t.Fatalf("dpdk-testpmd: no %q in 20 s:\n%s", pattern, text.String())
		}
	}
}

// forward begins to forward. All ports must have a peer: net_memif crashes if
// one gets its peer while it is polled.
func (p *testpmd) forward() {
	fmt.Fprintln(p.in, "start")
	p.until("packet forwarding")
}

// stop ends forwarding.
func (p *testpmd) stop() {
	fmt.Fprintln(p.in, "stop")
	p.until("^Done")
}

// quit ends the program, once. As a server it must not have peers any more: they
// would come again, and net_memif crashes on who comes while it is closed.
func (p *testpmd) quit() {
	if p.in == nil {
		return
	}
	fmt.Fprintln(p.in, "quit")
	p.in = nil
	if p.t.Failed() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		return
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	var tail []string
	for line := range p.lines {
		tail = append(tail, line)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("dpdk-testpmd: %v\n%s", err, strings.Join(tail, "\n"))
	}
}

// counters are a port's, turned round: as the plane should have them.
func (p *testpmd) counters(port int) plane.Counters {
	p.t.Helper()
	fmt.Fprintf(p.in, "show port stats %d\n", port)
	text := p.until("TX-packets:.*TX-bytes:")
	get := func(name string) uint64 {
		m := regexp.MustCompile(name + `: *(\d+)`).FindStringSubmatch(text)
		if m == nil {
			p.t.Fatalf("no %s in %s", name, text)
		}
		n, _ := strconv.ParseUint(m[1], 10, 64)
		return n
	}
	return plane.Counters{RxPackets: get("TX-packets"), RxBytes: get("TX-bytes"), TxPackets: get("RX-packets"), TxBytes: get("RX-bytes")}
}

// withPeers waits until memif ports have a peer.
func (n *node) withPeers(t testing.TB, ids ...string) {
	t.Helper()
	n.eventually(t, "memif peers", func() bool {
		for _, id := range ids {
			n.mu.Lock()
			l := n.links[id]
			n.mu.Unlock()
			for _, e := range l.ends {
				if m, ok := e.(*memifPort); ok && m.tx.Load() == nil {
					return false
				}
			}
		}
		return true
	})
}

// A pod whose program is DPDK stands between a pod of the kernel on this node and
// a VXLAN tunnel to one on another.
func TestTestpmd(t *testing.T) {
	for _, role := range memifRoles {
		for _, rings := range []int{1, 4} {
			t.Run(fmt.Sprintf("we are %s/%d rings", role.name, rings), func(t *testing.T) {
				u := newUnderlay(t, 1500)
				n, far := u.start(t, 0, addrs4, nil), u.start(t, 1, addrs4, nil)
				n.memifRings = rings
				pods, between := [2]*namespace{newNamespace(t), newNamespace(t)}, newNamespace(t)
				ports := []plane.Memif{between.memif(t, "c1", role.master), between.memif(t, "c2", role.master)}
				connections := []*plane.Connection{
					{ID: "c1", Payload: plane.Ethernet, MTU: 1450, Client: pods[0].port(t, "nsm-1"), Endpoint: ports[0]},
					{ID: "c2", Payload: plane.Ethernet, Client: ports[1], Endpoint: tunnel(0, 7, addrs4)},
					{ID: "c3", Payload: plane.Ethernet, Client: tunnel(1, 7, addrs4), Endpoint: pods[1].port(t, "nsm-1")},
				}
				for i, on := range []*node{n, n, far} {
					if _, err := on.Join(t.Context(), connections[i]); err != nil {
						t.Fatal(err)
					}
				}
				p := startTestpmd(t, between, ports, rings)
				n.withPeers(t, "c1", "c2")
				p.forward()
				for i, pod := range pods {
					pod.addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
				}
				pods[0].ping(t, "10.7.0.2")
				stream(t, pods[0], pods[1], "10.7.0.2", 4<<20)
				stream(t, pods[1], pods[0], "fd07::1", 4<<20)
				// Quiet, so that all counters can be read.
				for _, ns := range pods {
					if err := ns.handle.LinkSetDown(ns.link(t, "nsm-1")); err != nil {
						t.Fatal(err)
					}
				}
				var ours, theirs [2]plane.Counters
				n.eventually(t, "the counters agree", func() bool {
					links := n.Links()
					ours = [2]plane.Counters{links[0].Endpoint.Counters, links[1].Client.Counters}
					theirs = [2]plane.Counters{p.counters(0), p.counters(1)}
					for i := range ours {
						ours[i].Drops = 0
					}
					return ours == theirs
				})
				if ours[0].RxBytes < 4<<20 || ours[0].TxBytes < 4<<20 {
					t.Errorf("counters %+v", ours)
				}
				p.stop()
				for _, c := range connections {
					if err := n.Leave(t.Context(), c.ID); err != nil {
						t.Fatal(err)
					}
				}
				p.quit()
			})
		}
	}
}
