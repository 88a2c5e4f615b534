// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testpmd is DPDK's packet generator and forwarder with memif ports.
type testpmd struct {
	t     testing.TB
	in    io.WriteCloser
	lines chan string
	cmd   *exec.Cmd
}

// startTestpmd runs dpdk-testpmd on a CPU with memif ports, each an argument of
// --vdev without the device's name. It needs no huge pages: memif ports without
// zero-copy share a memfd of their own.
func startTestpmd(t testing.TB, cpu int, vdevs []string, options ...string) *testpmd {
	t.Helper()
	if _, err := exec.LookPath("dpdk-testpmd"); err != nil {
		t.Skip("needs dpdk-testpmd with net_memif (Debian: dpdk, librte-net-memif23)")
	}
	args := []string{"--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "256", "--lcores", "(0,1)@" + strconv.Itoa(cpu)}
	for i, v := range vdevs {
		args = append(args, "--vdev", fmt.Sprintf("net_memif%d,%s", i, v))
	}
	args = append(args, "--", "--total-num-mbufs=16384", "--no-lsc-interrupt", "--disable-link-check", "-i")
	args = append(args, options...)
	p := &testpmd{t: t, cmd: exec.Command("stdbuf", append([]string{"-oL", "dpdk-testpmd"}, args...)...), lines: make(chan string, 4096)}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
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

func (p *testpmd) say(command string) { fmt.Fprintln(p.in, command) }

// quit ends the program, once.
func (p *testpmd) quit() {
	if p.in == nil {
		return
	}
	fmt.Fprintln(p.in, "stop\nquit")
	p.in = nil
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

// stats are a port's counters: what testpmd has received and sent.
func (p *testpmd) stats(port int) (rxPackets, rxBytes, txPackets, txBytes uint64) {
	p.t.Helper()
	p.say(fmt.Sprintf("show port stats %d", port))
	text := p.until("TX-packets:")
	get := func(name string) uint64 {
		m := regexp.MustCompile(name+`: *(\d+)`).FindAllStringSubmatch(text, -1)
		if len(m) == 0 {
			p.t.Fatalf("no %s in %s", name, text)
		}
		n, _ := strconv.ParseUint(m[len(m)-1][1], 10, 64)
		return n
	}
	rest := ""
	if !strings.Contains(text, "TX-bytes") {
		rest = p.until("TX-bytes|Throughput")
	}
	text += rest
	return get("RX-packets"), get("RX-bytes"), get("TX-packets"), get("TX-bytes")
}

// TestDPDKReflects has testpmd send back all packets, in either role. What comes
// back must be what was sent, and both ends must have counted the same.
func TestDPDKReflects(t *testing.T) {
	for _, role := range []string{"server", "client"} {
		for _, rings := range []int{1, 4} {
			t.Run(fmt.Sprintf("testpmd is %s/%d rings", role, rings), func(t *testing.T) {
				reflect(t, role, rings)
			})
		}
	}
}

func reflect(t *testing.T, role string, rings int) {
	cfg := Config{ID: 7, Secret: "between us", RxRings: rings, TxRings: rings, Name: "ours"}
	vdev := fmt.Sprintf("role=%s,id=7,secret=%s,rsize=9,socket-abstract=no,socket=", role, cfg.Secret)
	options := []string{"--forward-mode=io", fmt.Sprintf("--rxq=%d", rings), fmt.Sprintf("--txq=%d", rings), "--no-flush-rx"}
	var iface *Interface
	var err error
	var p *testpmd
	if role == "server" {
		socket := filepath.Join(t.TempDir(), "memif.sock")
		p = startTestpmd(t, 1, []string{vdev + socket}, options...)
		iface, err = Slave(Address{Socket: socket}, cfg)
	} else {
		var l *Listener
		var a Address
		l, a = listen(t)
		if iface, err = l.Interface(cfg); err == nil {
			p = startTestpmd(t, 1, []string{vdev + a.Socket}, options...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer iface.Close()
	conn, err := iface.Connect(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if len(conn.Rx()) != rings || len(conn.Tx()) != rings || !strings.HasPrefix(conn.Peer().Name, "DPDK") {
		t.Fatalf("%d, %d rings with %v", len(conn.Rx()), len(conn.Tx()), conn.Peer())
	}
	// Not earlier: net_memif looks at a ring's address before it looks whether
	// the connection stands, and its forwarding thread crashes in between.
	p.say("start")
	p.until("packet forwarding")
	const total = 5000
	size := func(i int) int { return 60 + i%1455 }
	errs := make(chan error)
	for q := range rings {
		go func() { errs <- carry(conn.Tx()[q], conn.Rx()[q], total, size) }()
	}
	for range rings {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	s := iface.Statistics()
	var rx, tx Counter
	for q := range rings {
		if s.Rx[q] != s.Tx[q] || s.Rx[q].Packets != total {
			t.Errorf("ring %d: %+v sent, %+v came back", q, s.Tx[q], s.Rx[q])
		}
		rx.Packets, rx.Bytes = rx.Packets+s.Rx[q].Packets, rx.Bytes+s.Rx[q].Bytes
		tx.Packets, tx.Bytes = tx.Packets+s.Tx[q].Packets, tx.Bytes+s.Tx[q].Bytes
	}
	rxp, rxb, txp, txb := p.stats(0)
	if rxp != tx.Packets || rxb != tx.Bytes || txp != rx.Packets || txb != rx.Bytes {
		t.Errorf("testpmd received %d packets, %d bytes and sent %d, %d; we sent %+v and received %+v", rxp, rxb, txp, txb, tx, rx)
	}
	p.quit()
	select {
	case <-conn.Done():
	case <-time.After(10 * time.Second):
		t.Error("testpmd ended and the connection did not")
	}
}
