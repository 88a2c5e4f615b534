// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Process is a program of the lab, in the network namespace of a node or a pod
// and in a mount namespace of its own: it may mount and rewrite what it likes,
// /etc/resolv.conf first of all, and nothing of it shows on the machine.
type Process struct {
	// Name is unique on its node, as in "forwarder".
	Name string
	// Log is the file that holds what the process printed, over all restarts.
	Log string
	// Wrap is a command with arguments that runs the program, such as setpriv;
	// empty for none.
	Wrap []string

	netns string
	argv  []string
	env   []string

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// sandbox runs in the process's own mount namespace before the program does: a
// resolv.conf of its own, and a /sys that shows its network namespace.
const sandbox = `set -e
mount --make-rprivate /
mount -t sysfs sysfs /sys
cp "$LAB_RESOLV" "$LAB_RESOLV.$$"
mount --bind "$LAB_RESOLV.$$" /etc/resolv.conf
rm "$LAB_RESOLV.$$"
unset LAB_RESOLV
exec "$0" "$@"`

// Start runs the process, or runs it again after it has ended.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer func() { _ = log.Close() }()
	resolv := filepath.Join(filepath.Dir(p.Log), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("# of the lab\n"), 0o644); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}

	cmd := exec.Command("/bin/sh", slices.Concat([]string{"-c", sandbox}, p.Wrap, p.argv)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LAB_RESOLV=" + resolv}, p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS,
		Setpgid:    true, // Ctrl-C is for the lab to deal with
	}
	if err := netns.Do(p.netns, cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	done := p.done
	go func() {
		p.err = cmd.Wait()
		close(done)
	}()
	return nil
}

// PID of the running process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running reports whether the process has been started and has not ended.
func (p *Process) Running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended, nil for exit code 0. Call it after Done.
func (p *Process) Err() error { return p.err }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Stop ends the process with SIGTERM, or with SIGKILL when it has not ended
// after the grace time; that is an error.
func (p *Process) Stop(grace time.Duration) error {
	if !p.Running() {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.Name, grace)
	}
}

// Tail returns the last lines of the process's log.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// LogContains reports whether the process has printed a line with text in it.
func (p *Process) LogContains(text string) bool {
	f, err := os.Open(p.Log)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return true
		}
	}
	return false
}

// Await polls until ok holds, the process has ended, or ctx is done.
func (p *Process) Await(ctx context.Context, what string, ok func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w\n%s", p.Name, what, ctx.Err(), p.Tail(15))
		case <-p.done:
			return fmt.Errorf("%s ended before it was %s: %w\n%s", p.Name, what, p.err, p.Tail(15))
		case <-tick.C:
		}
	}
	return nil
}

// Run runs a command in a network namespace and returns what it printed.
func Run(ctx context.Context, nsPath, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := netns.Do(nsPath, cmd.Start); err != nil {
		return "", fmt.Errorf("run %s: %w", name, err)
	}
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
		}
		return out.String(), fmt.Errorf("run %s: %w", name, err)
	}
	return out.String(), nil
}

// Tool is a command that runs beside the mesh, such as a server to test with.
type Tool struct{ cmd *exec.Cmd }

// Background starts a command in a network namespace.
func Background(nsPath, name string, args ...string) (*Tool, error) {
	cmd := exec.Command(name, args...)
	if err := netns.Do(nsPath, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &Tool{cmd: cmd}, nil
}

// Kill ends the command and waits for its end.
func (t *Tool) Kill() {
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait()
}

// PID of the command.
func (t *Tool) PID() int { return t.cmd.Process.Pid }
