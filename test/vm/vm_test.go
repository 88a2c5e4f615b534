// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

// suite is a test binary that runs in the guest.
type suite struct {
	pkg       string // its folder in the module
	run, skip string // as in go test
	// slow are tests that are skipped, too, where the guest's code is translated.
	slow string
	// limit holds for boot and tests where the guest's code is translated on a
	// busy machine.
	limit time.Duration
}

// guestInit compiles what all guests boot, or skips the test where there can be
// no guest.
func newMachine(t *testing.T) *Machine {
	t.Helper()
	kernel, err := FindKernel()
	if err != nil {
		t.Skip(err)
	}
	init, err := BuildInit(t.Context(), t.TempDir())
	require.NoError(t, err)
	return &Machine{Kernel: kernel, Init: init, Memory: DefaultMemory, CPUs: DefaultCPUs}
}

// runSuite runs a package's tests in a guest and reports them as subtests.
func runSuite(t *testing.T, s suite) {
	m := newMachine(t)
	dir, err := filepath.Abs(filepath.Join("..", "..", s.pkg))
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), path.Base(s.pkg)+".test")
	compile := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	compile.Dir = dir
	out, err := compile.CombinedOutput()
	require.NoError(t, err, "%s", out)

	p := wire.Program{Dir: dir, Env: Environment(), Timeout: s.limit, Args: []string{binary,
		"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + (s.limit - 15*time.Second).String()}}
	skip := s.skip
	if s.slow != "" && !Hardware() {
		t.Logf("without KVM not run: %s", s.slow)
		skip = join(skip, s.slow)
	}
	if skip != "" {
		p.Args = append(p.Args, "-test.skip="+skip)
	}
	if s.run != "" {
		p.Args = append(p.Args, "-test.run="+s.run)
	}
	m.Programs = []wire.Program{p}
	var printed bytes.Buffer
	m.Output = func(_ int, line []byte) { printed.Write(line) }
	ctx, cancel := context.WithTimeout(t.Context(), s.limit)
	defer cancel()
	started := time.Now()
	exits, err := m.Run(ctx)
	r := parse(t, &printed)
	r.report(t)
	require.NoError(t, err)
	t.Logf("passed %d, failed %d, skipped %d in %s, with boot %s", r.count("pass"), r.count("fail"), r.count("skip"),
		exits[0].Elapsed.Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
	require.Zero(t, exits[0].Code, exits[0].Text)
	require.NotZero(t, r.count("pass"), "no test passed")
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "|" + b
}

func TestClassifier(t *testing.T) {
	// The object files do not depend on the kernel.
	runSuite(t, suite{pkg: "pkg/classifier", skip: "ObjectFiles", limit: 2 * time.Minute})
}

func TestXSK(t *testing.T) {
	runSuite(t, suite{pkg: "pkg/xsk", limit: 2 * time.Minute})
}

func TestUplink(t *testing.T) {
	runSuite(t, suite{pkg: "pkg/uplink", limit: 2 * time.Minute})
}

func TestEmbeddedPlane(t *testing.T) {
	runSuite(t, suite{pkg: "pkg/plane/embedded", limit: 3 * time.Minute})
}

func TestKernelPlane(t *testing.T) {
	runSuite(t, suite{
		pkg: "pkg/plane/kernel",
		// They are the same without WireGuard and VLAN interfaces.
		slow: "TestRemote/over_IPv6|TestRemote/over_IPv4/ETHERNET|TestAdoption/after_Close|TestConcurrently|" +
			"TestLocal|TestBadConnections|TestJoinAgain|TestSameVNI|TestTunnelsThatWereLeft/VXLAN|TestManyTunnels/wireguard-go",
		limit: 8 * time.Minute,
	})
}
