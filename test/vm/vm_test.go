// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/test/vm/wire"
)

// suite is a package whose tests run in the guest.
type suite struct {
	pkg string // its folder in the module
	// run names the tests, as in go test; all, if empty. quick names those that
	// run where the guest's code is translated.
	run, quick string
	skip       string
	// programs says that the tests run the programs of cmd.
	programs bool
	// limit of the guest's time for the tests.
	limit time.Duration
}

// patience is how many times as long as a limit says the machine may take, where
// it runs others first and translates the guest's code.
const patience = 4

const why = "without KVM only %s: QEMU translates the guest's code, which takes ten times as long"

// newMachine skips the test where there can be no guest.
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
func runSuite(t *testing.T, s *suite) {
	m := newMachine(t)
	dir, err := filepath.Abs(filepath.Join("..", "..", s.pkg))
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), path.Base(s.pkg)+".test")
	command(t, dir, "go", "test", "-c", "-o", binary, ".")

	run := s.run
	if s.quick != "" && !Hardware() {
		run = s.quick
		t.Run("others", func(t *testing.T) { t.Skipf(why, s.quick) })
	}
	p := wire.Program{Dir: dir, Env: Environment(), Args: []string{binary,
		"-test.v=test2json", "-test.paniconexit0", "-test.timeout=" + s.limit.String(), "-test.run=" + run}}
	if s.skip != "" {
		p.Args = append(p.Args, "-test.skip="+s.skip)
	}
	if s.programs {
		p.Env = append(p.Env, "NSM_BIN="+programs(t))
	}
	m.Programs = []wire.Program{p}
	var printed bytes.Buffer
	m.Output = func(_ int, line []byte) { printed.Write(line) }
	ctx, cancel := context.WithTimeout(t.Context(), patience*s.limit)
	defer cancel()
	started := time.Now()
	exits, err := m.Run(ctx)
	r := parse(t, &printed)
	r.report(t)
	require.NoError(t, err)
	t.Logf("passed %d, failed %d, skipped %d in %s of the guest's time, %s of the host's with boot",
		r.count("pass"), r.count("fail"), r.count("skip"),
		exits[0].Elapsed.Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
	require.Zero(t, exits[0].Code, exits[0].Text)
	require.NotZero(t, r.count("pass"), "no test passed")
}

// programs is the folder of the programs: the one that NSM_BIN names, else they
// are built.
func programs(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("NSM_BIN"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	command(t, filepath.Join("..", ".."), "go", "build", "-o", dir+"/", "./cmd/...")
	return dir
}

func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// The verifier of an older kernel, and verdicts by it.
func TestClassifier(t *testing.T) {
	runSuite(t, &suite{
		pkg:   "pkg/classifier",
		quick: "Verdicts|TunnelFrames|MultiBuffer|Jumbo|TakeOver|ThreeCapabilities|Pinholes|VLAN",
		skip:  "ObjectFiles", // they do not depend on the kernel
		limit: 2 * time.Minute,
	})
}

func TestXSK(t *testing.T) {
	runSuite(t, &suite{
		pkg:   "pkg/xsk",
		quick: "PacketsComeBack|OneKick|Bursts|ErrorsSay|BusyPoll|InterfaceThat|PacketInAsMany",
		limit: 2 * time.Minute,
	})
}

func TestUplink(t *testing.T) {
	runSuite(t, &suite{
		pkg:   "pkg/uplink",
		quick: "WhichUplink|NoUplink|VLAN|LinkIsFollowed|OnLink",
		limit: 2 * time.Minute,
	})
}

func TestEmbeddedPlane(t *testing.T) {
	runSuite(t, &suite{
		pkg:   "pkg/plane/embedded",
		quick: "VLANDevice|VLANBeside|VLANCounters|KernelVXLANPeer|SocketConfig|BadFrames|FramesOnTheWire|RestartAfterKill|MemifAndVXLAN",
		limit: 3 * time.Minute,
	})
}

// Linux's VLAN and WireGuard devices.
func TestKernelPlane(t *testing.T) {
	runSuite(t, &suite{
		pkg:   "pkg/plane/kernel",
		quick: "VLAN|WireGuard|TestAdoption|TunnelsThatWereLeft|TestRemote/over_IPv4_to_kernel_plane$/IP",
		limit: 3 * time.Minute,
	})
}

// Use cases on a VLAN-tagged underlay, and on Linux's devices.
func TestUseCases(t *testing.T) {
	runSuite(t, &suite{
		pkg:      "test/usecases",
		run:      "TestRows/VLAN-tagged|TestRows/kernel_to_(embedded|kernel)/^Kernel2RVlan$|TestRows/kernel_to_kernel/^Kernel2IP2Kernel",
		programs: true,
		limit:    5 * time.Minute,
	})
}

// TestDemo shows two nodes from end to end.
func TestDemo(t *testing.T) {
	const limit = 3 * time.Minute
	m := newMachine(t)
	dir := programs(t)
	m.Programs = []wire.Program{{Args: []string{filepath.Join(dir, "forwarder"), "demo"}, Env: append(Environment(), "NSM_BIN="+dir)}}
	var printed bytes.Buffer
	m.Output = func(_ int, line []byte) { printed.Write(line) }
	ctx, cancel := context.WithTimeout(t.Context(), patience*limit)
	defer cancel()
	exits, err := m.Run(ctx)
	t.Logf("%s", &printed)
	require.NoError(t, err)
	require.Zero(t, exits[0].Code, exits[0].Text)
	require.Contains(t, printed.String(), "AF_XDP")
}
