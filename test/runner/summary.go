// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// event is a line of go test -json (see go doc test2json).
type event struct {
	Action     string
	ImportPath string // of what is built
	Package    string
	Test       string
	Elapsed    float64
	Output     string
}

type test struct{ Package, Test string }

func (t test) String() string { return t.Package + " " + t.Test }

type skip struct {
	test
	reason string
}

// summary is what became of the tests. Packages may be added side by side: each
// of them is printed in whole tests, or in whole lines if verbose.
type summary struct {
	verbose bool
	out     io.Writer

	mu      sync.Mutex
	output  map[test][]string
	passed  int
	failed  []test
	skipped []skip
	rows    rows
}

func newSummary(out io.Writer, verbose bool) *summary {
	return &summary{out: out, verbose: verbose, output: map[test][]string{}}
}

// add takes an event, and returns whether it tells a failure.
func (s *summary) add(e *event) (failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := test{cmp.Or(e.Package, e.ImportPath), e.Test}
	switch e.Action {
	case "output", "build-output":
		s.output[t] = append(s.output[t], e.Output)
		if s.verbose {
			s.say("%s", e.Output)
		}
	case "pass":
		s.end(t, e, "ok  ")
		if e.Test != "" {
			s.passed++
			s.rows.add(e.Test, "ok", "")
		}
	case "build-fail": // the package's failure follows
		if !s.verbose {
			s.say("%s", strings.Join(s.output[t], ""))
		}
		delete(s.output, t)
	case "fail":
		if e.Test != "" || !s.hasFailed(e.Package) {
			s.failed = append(s.failed, t)
			s.rows.add(e.Test, "FAIL", "")
			if !s.verbose {
				s.say("%s", strings.Join(s.output[t], ""))
			}
		}
		s.end(t, e, "FAIL")
		return true
	case "skip":
		if e.Test != "" {
			why := reason(s.output[t])
			s.skipped = append(s.skipped, skip{t, why})
			s.rows.add(e.Test, "skip", why)
		}
		delete(s.output, t)
	}
	return false
}

// other takes a line that is no event.
func (s *summary) other(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say("%s\n", line)
}

// fail notes that go test itself failed, for a module.
func (s *summary) fail(dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say("%s: %v\n", dir, err)
	s.failed = append(s.failed, test{Package: dir, Test: "(go test)"})
}

func (s *summary) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

// end forgets a test's output, and prints a line when it is a package's.
func (s *summary) end(t test, e *event, verdict string) {
	delete(s.output, t)
	if e.Test == "" {
		s.say("%s %7.1fs  %s\n", verdict, e.Elapsed, e.Package)
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
		s.say("\nSkipped:\n")
		for _, k := range s.skipped {
			s.say("  %s: %s\n", k.test, k.reason)
		}
	}
	if len(s.failed) > 0 {
		s.say("\nFailed:\n")
		for _, t := range s.failed {
			s.say("  %s\n", t)
		}
	}
	s.say("\n%d passed, %d failed, %d skipped\n", s.passed, len(s.failed), len(s.skipped))
}
