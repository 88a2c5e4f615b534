// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// idle runs a command, and whatever that starts, only while a processor has nothing
// else to do (SCHED_IDLE, sched(7)): unlike by nice(1), others that wake up do not wait
// for it.
var idle = []string{"chrt", "-i", "0"}

// runner runs go test.
type runner struct {
	args []string // without packages
	*summary
}

// testAll tests groups of packages of a module one by one, by the command prefix if
// there is one.
func (r *runner) testAll(ctx context.Context, dir string, groups [][]string, prefix ...string) {
	for _, group := range groups {
		if err := r.test(ctx, dir, slices.Concat(prefix, []string{"go"}, r.args, group)); err != nil {
			r.fail(dir, err)
		}
	}
}

func (r *runner) test(ctx context.Context, dir string, argv []string) error {
	cmd := command(ctx, grace, argv...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	told := false // a failure, with its test
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			r.other(lines.Text())
			continue
		}
		told = r.add(&e) || told
	}
	if err := cmd.Wait(); err != nil && !told {
		return err
	}
	return nil
}

// grace is what an interrupted command has to end in.
const grace = 30 * time.Second

// command is one that is interrupted when ctx ends, and killed after the grace time,
// and with it what it has started: go test waits for the test binaries when it is
// interrupted, and leaves them behind when it is killed.
func command(ctx context.Context, grace time.Duration, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		time.AfterFunc(grace, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	return cmd
}
