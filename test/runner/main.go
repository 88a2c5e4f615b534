// SPDX-License-Identifier: Apache-2.0

// Command runner runs the tests of all modules of the tree and closes with a
// summary: what failed with its output, what was skipped with its reason, how each
// use case fared, and the counts.
//
//	go run ./test/runner [-v] [-run regexp] [-modules dir,dir] [packages]
//
// The README's table of use cases is printed by
//
//	go run ./test/runner -markdown -run TestRows ./test/usecases
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	modules := flag.String("modules", ".", "comma-separated folders of the modules to test")
	run := flag.String("run", "", "only tests that match, as in go test")
	verbose := flag.Bool("v", false, "print the output of tests that pass, too")
	markdown := flag.Bool("markdown", false, "print the table of use cases in Markdown")
	alone := flag.String("alone", "", "comma-separated packages of the first module that need the machine for themselves: they are tested after the others, one by one")
	timeout := flag.Duration("timeout", 25*time.Minute, "limit for each test binary")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	s := &summary{verbose: *verbose, output: map[test][]string{}}
	for i, module := range strings.Split(*modules, ",") {
		groups := [][]string{packages}
		if i == 0 && *alone != "" {
			var err error
			if groups, err = separate(ctx, module, packages, strings.Split(*alone, ",")); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		for _, group := range groups {
			args := []string{"test", "-json", "-p", "2", "-timeout", timeout.String()}
			if *run != "" {
				args = append(args, "-run", *run)
			}
			if err := s.runModule(ctx, module, append(args, group...)); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", module, err)
				s.failed = append(s.failed, test{Package: module, Test: "(go test)"})
			}
		}
	}
	stop()
	s.rows.print(os.Stdout, *markdown)
	s.print()
	if len(s.failed) > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// separate makes a group of each of the packages in alone that is among packages,
// after the group of the others.
func separate(ctx context.Context, dir string, packages, alone []string) ([][]string, error) {
	all, err := list(ctx, dir, packages)
	if err != nil {
		return nil, err
	}
	single, err := list(ctx, dir, alone)
	if err != nil {
		return nil, err
	}
	var groups [][]string
	for _, p := range single {
		if slices.Contains(all, p) {
			groups = append(groups, []string{p})
		}
	}
	all = slices.DeleteFunc(all, func(p string) bool { return slices.Contains(single, p) })
	if len(all) > 0 {
		groups = append([][]string{all}, groups...)
	}
	return groups, nil
}

// list resolves patterns to packages.
func list(ctx context.Context, dir string, patterns []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, patterns...)...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// event is a line of go test -json (see go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

type test struct{ Package, Test string }

func (t test) String() string { return t.Package + " " + t.Test }

type skip struct {
	test
	reason string
}

type summary struct {
	verbose bool
	output  map[test][]string
	passed  int
	failed  []test
	skipped []skip
	rows    rows
}

func (s *summary) runModule(ctx context.Context, dir string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	// The tests get the chance to remove their namespaces.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failedBefore := len(s.failed)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		s.add(&e)
	}
	err = cmd.Wait()
	if len(s.failed) > failedBefore {
		return nil // the failure has been told with its test
	}
	return err
}

func (s *summary) add(e *event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		s.output[t] = append(s.output[t], e.Output)
		if s.verbose {
			fmt.Print(e.Output)
		}
	case "pass":
		s.end(t, e, "ok  ")
		if e.Test != "" {
			s.passed++
			s.rows.add(e.Test, "ok", "")
		}
	case "fail", "build-fail":
		if e.Test != "" || !s.hasFailed(e.Package) {
			s.failed = append(s.failed, t)
			s.rows.add(e.Test, "FAIL", "")
			if !s.verbose {
				fmt.Print(strings.Join(s.output[t], ""))
			}
		}
		s.end(t, e, "FAIL")
	case "skip":
		if e.Test != "" {
			why := reason(s.output[t])
			s.skipped = append(s.skipped, skip{t, why})
			s.rows.add(e.Test, "skip", why)
		}
		delete(s.output, t)
	}
}

// end forgets a test's output, and prints a line when it is a package's.
func (s *summary) end(t test, e *event, verdict string) {
	delete(s.output, t)
	if e.Test == "" {
		fmt.Printf("%s %7.1fs  %s\n", verdict, e.Elapsed, e.Package)
	}
}

func (s *summary) hasFailed(pkg string) bool {
	return slices.ContainsFunc(s.failed, func(t test) bool { return t.Package == pkg })
}

// reason is what a skipped test said last before its verdict.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, text, found := strings.Cut(line, ".go:"); found {
			if _, text, found = strings.Cut(text, ": "); found {
				return text
			}
		}
		return line
	}
	return "no reason given"
}

func (s *summary) print() {
	if len(s.skipped) > 0 {
		fmt.Println("\nSkipped:")
		for _, k := range s.skipped {
			fmt.Printf("  %s: %s\n", k.test, k.reason)
		}
	}
	if len(s.failed) > 0 {
		fmt.Println("\nFailed:")
		for _, t := range s.failed {
			fmt.Printf("  %s\n", t)
		}
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", s.passed, len(s.failed), len(s.skipped))
}
