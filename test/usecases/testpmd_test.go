// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/usecase"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// testpmdVariant is where the client pod's program is not ours: nsc negotiates, and
// dpdk-testpmd is at the memif.
var testpmdVariant = variant{name: "client pod is dpdk-testpmd", lab: lab.Config{Planes: embeddedBoth}}

// testpmdRows are those with Ethernet to Linux, which resolves testpmd's address.
var testpmdRows = []string{"Memif2Ethernet2Kernel", "Memif2Kernel", "Memif2RVlan"}

func runTestpmdRows(t *testing.T) {
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		t.Skip("needs dpdk-testpmd with net_memif (Debian: dpdk, librte-net-memif23)")
	}
	cases, err := usecase.FindAll(testpmdRows)
	require.NoError(t, err)
	b := newBoard(&testpmdVariant, 1)
	b.start(t)
	for i := range cases {
		t.Run(cases[i].Name, func(t *testing.T) { b.testpmdRow(t, &cases[i]) })
	}
	b.end(t)
}

// memifSocket is what nsc logs for other programs.
var memifSocket = regexp.MustCompile(`memif socket @(\S+) role slave mode ethernet`)

// testpmdRow pings a pod in which testpmd answers, and compares what it and the
// forwarder have counted.
func (b *board) testpmdRow(t *testing.T, c *usecase.Case) {
	env := lab.Calm()
	env["NSM_MEMIF_STACK"] = "false"
	r := b.launch(t, c, env)
	require.NoError(t, r.Client.AwaitConnected(within(t, 40*time.Second)))
	log, err := os.ReadFile(r.Client.Log)
	require.NoError(t, err)
	socket := memifSocket.FindSubmatch(log)
	require.NotNil(t, socket, "%s", log)
	p := startTestpmd(t, r.Client.Pod, string(socket[1]))

	back := r.Ways()[1]
	// ping(8) does not send in a burst what waits for an address to be resolved.
	_, err = back.PingLossless(within(t, 30*time.Second), 1, 56)
	require.NoError(t, err)
	for _, size := range []int{56, countedSize, r.pathMTU(c) - ipHeader(c) - echoHeader} {
		_, err := back.PingLossless(within(t, 30*time.Second), counted, size, "-M", "do")
		require.NoError(t, err)
	}
	var saw, told plane.Counters
	for range attempts {
		before := r.quiet(t)
		saw = p.counters()
		if after := r.quiet(t); after.links[0].Client.Counters == before.links[0].Client.Counters {
			told = after.links[0].Client.Counters
			break
		}
	}
	told.Drops = 0 // of what came before testpmd did
	require.Equal(t, saw, told, "testpmd's counters, turned round, and the forwarder's")
	require.GreaterOrEqual(t, saw.RxPackets, uint64(3*counted))
	p.quit()
	r.requireCloseLeavesNothing(t)
}

// testpmd is DPDK's packet forwarder in a pod, answering ARP and echo requests.
type testpmd struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

// startTestpmd runs testpmd in a pod with a memif whose master listens on an
// abstract socket. It needs no huge pages.
func startTestpmd(t *testing.T, pod *lab.Namespace, socket string) *testpmd {
	t.Helper()
	p := &testpmd{t: t, lines: make(chan string, 4096), cmd: exec.Command("stdbuf", "-oL", "dpdk-testpmd",
		"--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "128", "--lcores", "(0,1)@1",
		"--vdev", "net_memif0,role=client,id=0,socket-abstract=yes,socket="+socket,
		"--", "-i", "--total-num-mbufs=8192", "--no-lsc-interrupt", "--disable-link-check", "--no-flush-rx", "--forward-mode=icmpecho")}
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.cmd.Stderr = p.cmd.Stdout
	require.NoError(t, netns.Do(pod.Path, p.cmd.Start))
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		if p.in != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	p.until("^Done")
	// Not earlier: net_memif's forwarding thread crashes on a port that gets its
	// peer while it is polled.
	eventually(t, 20*time.Second, "testpmd's link is up", func() bool {
		p.say("show port info 0")
		return strings.Contains(p.until("Link status:"), "up")
	})
	p.say("start")
	p.until("packet forwarding")
	return p
}

func (p *testpmd) say(command string) { _, _ = fmt.Fprintln(p.in, command) }

// until reads output up to a line that matches, and returns that.
func (p *testpmd) until(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	var text strings.Builder
	deadline := time.After(40 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			require.True(p.t, ok, "dpdk-testpmd ended:\n%s", &text)
			if re.MatchString(line) {
				return line
			}
			_, _ = fmt.Fprintln(&text, line)
		case <-deadline:
			p.t.Fatalf("dpdk-testpmd: no %q:\n%s", pattern, &text)
		}
	}
}

// counters are testpmd's turned round, as the forwarder should have them.
func (p *testpmd) counters() plane.Counters {
	p.t.Helper()
	p.say("show port stats 0")
	numbers := regexp.MustCompile(`packets: *(\d+).*bytes: *(\d+)`)
	read := func(line string) (packets, bytes uint64) {
		m := numbers.FindStringSubmatch(line)
		require.NotNil(p.t, m, line)
		packets, _ = strconv.ParseUint(m[1], 10, 64)
		bytes, _ = strconv.ParseUint(m[2], 10, 64)
		return packets, bytes
	}
	var c plane.Counters
	c.TxPackets, c.TxBytes = read(p.until(`RX-packets:`))
	c.RxPackets, c.RxBytes = read(p.until(`TX-packets:`))
	return c
}

// quit ends testpmd.
func (p *testpmd) quit() {
	p.t.Helper()
	p.say("stop\nquit")
	p.in = nil
	kill := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	var said []string
	for line := range p.lines {
		said = append(said, line)
	}
	require.NoError(p.t, p.cmd.Wait(), strings.Join(said, "\n"))
}
