// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// program is a package whose tests pass when those of another run at the same time.
const program = `package NAME

import (
	"os"
	"testing"
	"time"
)

func TestMeet(t *testing.T) {
	_ = os.WriteFile("../NAME.here", nil, 0o600)
	for range 6000 {
		if _, err := os.Stat("../OTHER.here"); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("OTHER does not run")
}

func TestSkip(t *testing.T) { t.Skip("in NAME") }

func TestFail(t *testing.T) { t.Fatal("in NAME") }
`

func TestPackagesAreTestedBesideOthers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("go.mod", "module m\n\ngo 1.24\n")
	write("a/a_test.go", strings.NewReplacer("NAME", "a", "OTHER", "b").Replace(program))
	write("b/b_test.go", strings.NewReplacer("NAME", "b", "OTHER", "a").Replace(program))
	write("c/c.go", "package c\n\nfunc f() { unknown() }\n")

	var printed strings.Builder
	r := &runner{summary: newSummary(&printed, false), args: []string{"test", "-json"}}
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() { r.testAll(t.Context(), dir, [][]string{{"./b"}}) })
	r.testAll(t.Context(), dir, [][]string{{"./a"}, {"./c"}})
	meanwhile.Wait()
	require.Equal(t, 2, r.passed)
	require.ElementsMatch(t, []skip{{test{"m/a", "TestSkip"}, "in a"}, {test{"m/b", "TestSkip"}, "in b"}}, r.skipped)
	require.ElementsMatch(t, []test{{"m/a", "TestFail"}, {"m/b", "TestFail"}, {"m/c", ""}}, r.failed)
	require.Contains(t, printed.String(), "c/c.go:3:12: undefined: unknown\n")
	require.Contains(t, printed.String(), "=== RUN   TestFail\n    b_test.go:22: in b\n--- FAIL: TestFail")
}

func TestIdleIsOfWhatIsStarted(t *testing.T) {
	out, err := command(t.Context(), grace, append(idle, "sh", "-c", "cat /proc/self/stat; true")...).Output()
	require.NoError(t, err)
	const policy, idle = 41 - 1, "5" // proc_pid_stat(5), sched(7)
	require.Equal(t, idle, strings.Fields(string(out))[policy])
}

func TestWhatIsStartedEndsWithTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	// A shell's background processes do not mind SIGINT.
	cmd := command(ctx, 100*time.Millisecond, "sh", "-c", "trap : INT; sleep 60 & echo $!; while kill -0 $!; do wait; done 2>/dev/null")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 32)
	n, err := out.Read(line)
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	require.NoError(t, err)
	cancel()
	cancelled := time.Now()
	require.Error(t, cmd.Wait())
	require.Less(t, time.Since(cancelled), 30*time.Second)
	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(child, 0), syscall.ESRCH) }, 10*time.Second, 10*time.Millisecond)
}
