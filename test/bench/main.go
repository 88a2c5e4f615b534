// SPDX-License-Identifier: Apache-2.0

// Command bench compares the forwarder with named peers on the same machine in
// one run, and prints the ratios. All traffic stays in network namespaces that
// it makes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	o := options{}
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs")
	flag.StringVar(&o.out, "out", "out/bench.json", "file for the results")
	if os.Getenv("FORWARDING_PLANE") == "kernel" {
		o.run = "kernel plane"
	}
	flag.StringVar(&o.run, "run", o.run, "regular expression that picks rows by their name")
	flag.Float64Var(&o.seconds, "seconds", 4, "how long a stream of packets is measured")
	flag.BoolVar(&o.quick, "quick", false, "measure for one second, fewer connections")
	flag.Parse()
	if o.quick {
		o.seconds = min(o.seconds, 1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("the benchmarks took longer than ten minutes"))
	err := run(ctx, &o)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	bin, out, run string
	seconds       float64
	quick         bool
}

func run(ctx context.Context, o *options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo")
	}
	pick, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	// Threads that wait in system calls do not hold up the others.
	runtime.GOMAXPROCS(max(8, runtime.NumCPU()))
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	b := newBench(ctx, bin, o)
	defer func() { err = errors.Join(err, b.close()) }()
	report := &Report{Date: time.Now().UTC(), Machine: machine(), Seconds: o.seconds}
	started := time.Now()
	for _, c := range b.comparisons() {
		if !pick.MatchString(c.name) {
			continue
		}
		r := c.row()
		if err := context.Cause(ctx); err != nil {
			return errors.Join(err, report.write(o.out))
		}
		report.Rows = append(report.Rows, r)
		fmt.Printf("%4.0f s  %-44s %10s %s %s\n", time.Since(started).Seconds(), r.Name, r.Ours, r.Unit, against(r))
	}
	var failed []error
	for _, r := range report.Rows {
		for _, f := range []*Figure{&r.Ours, r.Peer} {
			if f != nil && f.Failed != "" {
				failed = append(failed, fmt.Errorf("%s: %s", r.Name, f.Failed))
			}
		}
	}
	if len(report.Rows) == 0 {
		return fmt.Errorf("-run %s picks nothing", o.run)
	}
	if err := report.write(o.out); err != nil {
		return err
	}
	fmt.Println()
	if err := report.writeTable(os.Stdout); err != nil {
		return err
	}
	fmt.Printf("\n%s; %.0f s; all of it in %s\n", report.Machine, time.Since(started).Seconds(), o.out)
	return errors.Join(failed...)
}

func against(r *Row) string {
	if r.Peer == nil {
		return ""
	}
	return "against " + r.Peer.String()
}

// machine is what the figures hold for.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if _, name, ok := strings.Cut(line, "model name"); ok {
				model = strings.Trim(name, "\t :\n")
				break
			}
		}
	}
	return fmt.Sprintf("%d CPUs %s, Linux %s", runtime.NumCPU(), model, unix.ByteSliceToString(u.Release[:]))
}

// closers undo what was set up, the last one first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() (err error) {
	for _, f := range slices.Backward(*c) {
		err = errors.Join(err, f())
	}
	return err
}
