// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runDemo starts the demo in a folder for temporary files of its own.
func runDemo(t *testing.T) (demo *exec.Cmd, out *bytes.Buffer, tmp string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab of network namespaces needs root")
	}
	// Paths of unix sockets have 107 bytes at most, too few for t.TempDir.
	tmp, err := os.MkdirTemp("", "demo-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	out = new(bytes.Buffer)
	demo = exec.Command(filepath.Join(bin, "forwarder"), "demo")
	demo.Env = append(os.Environ(), "TMPDIR="+tmp)
	demo.Stdout, demo.Stderr = out, out
	require.NoError(t, demo.Start())
	return demo, out, tmp
}

func TestDemo(t *testing.T) {
	t.Parallel()
	demo, out, tmp := runDemo(t)
	err := demo.Wait()
	require.NoError(t, err, out.String())
	require.Contains(t, out.String(), "Every ping and check passed")
	requireNoTrace(t, demo.Process.Pid, tmp)
}

func TestDemoInterruptedAtAnyStepLeavesNothing(t *testing.T) {
	t.Parallel()
	for range 6 {
		demo, out, tmp := runDemo(t)
		moment := rand.N(5 * time.Second)
		time.Sleep(moment)
		require.NoError(t, demo.Process.Signal(syscall.SIGINT))
		interrupted := time.Now()
		err := demo.Wait()
		require.Less(t, time.Since(interrupted), 15*time.Second)
		if !strings.Contains(out.String(), "Every ping and check passed") {
			require.Error(t, err, "exit code of a demo that was interrupted after %v:\n%s", moment, out)
		}
		requireNoTrace(t, demo.Process.Pid, tmp)
	}
}

// requireNoTrace looks for processes, namespaces, mounts and files of a demo.
func requireNoTrace(t *testing.T, pid int, tmp string) {
	t.Helper()
	name := fmt.Sprintf("nsm-demo-%d-", pid)
	namespaces, err := filepath.Glob("/run/netns/" + name + "*")
	require.NoError(t, err)
	require.Empty(t, namespaces)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), name)
	// Every process of the lab has its folder in its environment.
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, path := range environments {
		environment, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(environment), name) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			t.Errorf("process %s is left: %q", path, command)
		}
	}
}
