// SPDX-License-Identifier: Apache-2.0

// Package testpmd runs DPDK's packet forwarder and generator, dpdk-testpmd, as a
// peer that is not ours, for tests and benchmarks. It needs no huge pages.
package testpmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

const program = "dpdk-testpmd"

// ErrAbsent is wrapped when the program, or one of its drivers, is not installed.
var ErrAbsent = errors.New("needs dpdk-testpmd with net_memif and net_af_xdp (Debian: dpdk, librte-net-memif23, librte-net-af-xdp23)")

// Look returns ErrAbsent if the program is not installed.
func Look() error {
	if _, err := exec.LookPath(program); err != nil {
		return ErrAbsent
	}
	return nil
}

// patience is how long an answer may take on a busy machine.
const patience = 40 * time.Second

// Config is how to run it.
type Config struct {
	// NetNS is the path of the network namespace to run in; empty for the caller's.
	NetNS string
	// CPU that it is pinned to.
	CPU int
	// Mode of forwarding, such as io, txonly or icmpecho.
	Mode string
	// Devices are ports, as for --vdev: see Memif and AFXDP.
	Devices []string
	// Options are further ones, after the "--".
	Options []string
}

// Memif is a port that is a memif; role is "server" (the master, which listens) or
// "client". A socket that begins with '@' is abstract. more are further arguments
// of the driver, such as "rsize=9".
func Memif(port int, role, socket string, more ...string) string {
	name, abstract := strings.CutPrefix(socket, "@")
	kind := "no"
	if abstract {
		kind = "yes"
	}
	d := fmt.Sprintf("net_memif%d,role=%s,socket-abstract=%s,socket=%s", port, role, kind, name)
	return strings.Join(append([]string{d}, more...), ",")
}

// AFXDP is a port that is an AF_XDP socket on an interface.
func AFXDP(port int, iface string) string { return fmt.Sprintf("net_af_xdp%d,iface=%s", port, iface) }

// Process is a testpmd that waits for commands.
type Process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ended bool
}

// Start runs testpmd and returns when its ports are there. It does not forward yet.
// The error wraps ErrAbsent if it cannot run on this machine.
func Start(cfg Config) (*Process, error) {
	if err := Look(); err != nil {
		return nil, err
	}
	// stdbuf: it is to write its lines when they are complete, also into a pipe.
	args := []string{"-oL", program, "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "-m", "256", "--lcores", "(0,1)@" + strconv.Itoa(cfg.CPU)}
	for _, d := range cfg.Devices {
		args = append(args, "--vdev", d)
	}
	args = append(args, "--", "-i", "--forward-mode="+cfg.Mode, "--total-num-mbufs=16384", "--no-lsc-interrupt", "--disable-link-check", "--no-flush-rx")
	p := &Process{cmd: exec.Command("stdbuf", append(args, cfg.Options...)...), lines: make(chan string, 4096)}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := netns.Do(cfg.NetNS, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	if _, err := p.Until("^Done"); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return p, nil
}

// Say gives a command.
func (p *Process) Say(command string) { _, _ = fmt.Fprintln(p.in, command) }

// Until reads output up to a line that matches, and returns all of it.
func (p *Process) Until(pattern string) (string, error) {
	re := regexp.MustCompile(pattern)
	var text strings.Builder
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended:\n%s", program, &text)
			}
			fmt.Fprintln(&text, line)
			if re.MatchString(line) {
				return text.String(), nil
			}
		case <-deadline:
			return "", fmt.Errorf("%s: no %q in %v:\n%s", program, pattern, patience, &text)
		}
	}
}

// LinkUp tells whether a port has its peer.
func (p *Process) LinkUp(port int) (bool, error) {
	p.Say(fmt.Sprintf("show port info %d", port))
	text, err := p.Until("Link status:")
	return strings.HasSuffix(strings.TrimSpace(text), "up"), err
}

// Forward begins to forward. All memif ports must have their peers: net_memif looks
// at a ring's address before it looks whether the connection stands, and crashes in
// between.
func (p *Process) Forward() error {
	p.Say("start")
	_, err := p.Until("packet forwarding")
	return err
}

// Stop ends forwarding.
func (p *Process) Stop() error {
	p.Say("stop")
	_, err := p.Until("^Done")
	return err
}

// Counters are what a port has received and sent. Bytes are without FCS.
type Counters struct{ RxPackets, RxBytes, TxPackets, TxBytes uint64 }

var numbers = regexp.MustCompile(`([RT]X)-packets: *(\d+).*?[RT]X-bytes: *(\d+)`)

// Counters are those of a port at this moment.
func (p *Process) Counters(port int) (Counters, error) {
	p.Say(fmt.Sprintf("show port stats %d", port))
	text, err := p.Until("TX-packets:.*TX-bytes:")
	if err != nil {
		return Counters{}, err
	}
	var c Counters
	for _, m := range numbers.FindAllStringSubmatch(text, -1) {
		packets, errPackets := strconv.ParseUint(m[2], 10, 64)
		bytes, errBytes := strconv.ParseUint(m[3], 10, 64)
		if err := errors.Join(errPackets, errBytes); err != nil {
			return Counters{}, fmt.Errorf("%s: counters: %w", program, err)
		}
		if m[1] == "RX" {
			c.RxPackets, c.RxBytes = packets, bytes
		} else {
			c.TxPackets, c.TxBytes = packets, bytes
		}
	}
	return c, nil
}

// Quit ends the program, once, and tells how that went. As a server it must not have
// peers any more that forward: net_memif crashes on who comes while it is closed.
func (p *Process) Quit() error {
	if p.ended {
		return nil
	}
	p.ended = true
	p.Say("stop\nquit")
	kill := time.AfterFunc(patience/2, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	var tail []string
	for line := range p.lines {
		tail = append(tail, line)
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, strings.Join(tail, "\n"))
	}
	return nil
}

// Kill ends the program at once, if it has not ended.
func (p *Process) Kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill()
	for range p.lines { // what it had still to say
	}
	_ = p.cmd.Wait()
}
