// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// result is what became of a test in the guest. That of a test binary has no
// name.
type result struct {
	name, verdict string
	seconds       float64
	output        []string
	subtests      []*result
}

// parse reads what a test binary prints with -test.v=test2json.
func parse(t *testing.T, output io.Reader) *result {
	t.Helper()
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = output
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	all := map[string]*result{"": {}}
	for decoder := json.NewDecoder(bufio.NewReader(out)); ; {
		var event struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := decoder.Decode(&event); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		r := all[event.Test]
		if r == nil {
			r = &result{name: event.Test}
			all[event.Test] = r
			parent := all[""]
			for i, c := range event.Test {
				if above := all[event.Test[:i]]; c == '/' && above != nil {
					parent = above
				}
			}
			parent.subtests = append(parent.subtests, r)
		}
		switch event.Action {
		case "output":
			r.output = append(r.output, event.Output)
		case "pass", "fail", "skip":
			r.verdict, r.seconds = event.Action, event.Elapsed
		}
	}
	require.NoError(t, cmd.Wait())
	return all[""]
}

// report makes the guest's tests subtests of t, with the same verdicts.
func (r *result) report(t *testing.T) {
	for _, line := range r.output {
		if !isVerdict(line) {
			_, _ = io.WriteString(t.Output(), line)
		}
	}
	for _, s := range r.subtests {
		t.Run(strings.TrimPrefix(strings.TrimPrefix(s.name, r.name), "/"), s.report)
	}
	switch {
	case r.verdict == "skip":
		t.SkipNow()
	case r.verdict == "":
		t.Error("the virtual machine ended before this test did")
	case r.verdict == "fail" && !t.Failed():
		t.Fail()
	}
}

// isVerdict tells lines that the testing package prints about a test from those
// of the test.
func isVerdict(line string) bool {
	line = strings.TrimSpace(line)
	return slices.ContainsFunc([]string{"=== ", "--- PASS", "--- FAIL", "--- SKIP"}, func(mark string) bool {
		return strings.HasPrefix(line, mark)
	}) || line == "PASS" || line == "FAIL"
}

// count returns how many tests without subtests have the verdict.
func (r *result) count(verdict string) int {
	if len(r.subtests) == 0 && r.verdict == verdict {
		return 1
	}
	n := 0
	for _, s := range r.subtests {
		n += s.count(verdict)
	}
	return n
}
