// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// runEnv makes this binary the doctor, for TestWithoutAnyCapability.
const runEnv = "DOCTOR_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runEnv) != "" {
		if err := Run(Options{}).WriteJSON(os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	deadline = 5 * time.Second
	poll     = 5 * time.Millisecond
)

func pass() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}
}

func indexOf(t *testing.T, name string) int {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	return l.Attrs().Index
}

// node is a namespace with an uplink.
func node(t *testing.T) (Options, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	path, remove, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = remove() })
	sh(t, path, "ip link add eth0 type veth peer name p0; ip link set eth0 up; ip link set p0 up; ip addr add 10.0.0.1/24 dev eth0")
	// Linux tells of a carrier a little later.
	require.Eventually(t, func() bool { return strings.Count(sh(t, path, "ip -o link"), "state UP") == 2 }, deadline, poll)
	return Options{Tunnel: netip.MustParseAddr("10.0.0.1"), NetNS: path}, path
}

func sh(t *testing.T, ns, script string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command("sh", "-ec", script).CombinedOutput()
		return err
	})
	require.NoError(t, err, "%s", out)
	return string(out)
}

func named(t *testing.T, r Report, name string) Check {
	t.Helper()
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	require.FailNow(t, "no check of this name", name)
	return Check{}
}

// ourPrograms counts the programs of the doctor that the kernel has.
func ourPrograms(t *testing.T) (n int) {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return n
		}
		require.NoError(t, err)
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := program.Info(); err == nil && info.Name == "nsm_doctor" {
			n++
		}
		program.Close()
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func TestRealNode(t *testing.T) {
	o, ns := node(t)
	Run(o) // opens what the runtime keeps open
	const state = "ip -d link | grep -v altname; ip addr; ip route show table all; sysctl net.ipv4.ping_group_range"
	before, home, files := sh(t, ns, state), sh(t, "", "ip -o link"), openFiles(t)

	r := Run(o)
	for _, name := range []string{"capabilities", "BPF", "XDP", "AF_XDP", "uplink", "XDP on the uplink", "other XDP program", "MTU", "queues", "TAP devices", "pod namespaces"} {
		c := named(t, r, name)
		require.Equal(t, OK, c.Status, "%+v", c)
	}
	require.Contains(t, named(t, r, "uplink").Found, "eth0, 10.0.0.1, driver veth")
	require.Equal(t, Warn, named(t, r, "zero copy").Status, "veth has none")
	require.False(t, r.Failed(), "%+v", r)

	require.Equal(t, before, sh(t, ns, state))
	require.Equal(t, home, sh(t, "", "ip -o link"))
	require.Equal(t, files, openFiles(t))
	require.Eventually(t, func() bool { return ourPrograms(t) == 0 }, deadline, poll, "programs are left behind")
}

func TestAttachingToTheUplink(t *testing.T) {
	o, ns := node(t)
	o.Attach = true
	before := sh(t, ns, "ip -o link")
	r := Run(o)
	require.Equal(t, "native mode was tried and works", named(t, r, "XDP on the uplink").Found)
	require.Contains(t, named(t, r, "zero copy").Found, "was tried and failed")
	require.Equal(t, before, sh(t, ns, "ip -o link"))
	require.Eventually(t, func() bool { return ourPrograms(t) == 0 }, deadline, poll)
}

func TestProgramOfSomebodyElse(t *testing.T) {
	o, ns := node(t)
	o.Attach = true
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "cil_xdp_entry", Type: ebpf.XDP, License: "GPL", Instructions: pass()})
	require.NoError(t, err)
	defer program.Close()
	var l link.Link
	require.NoError(t, netns.Do(ns, func() (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: indexOf(t, "eth0")})
		return err
	}))
	defer l.Close()
	r := Run(o)
	c := named(t, r, "other XDP program")
	require.Equal(t, Fail, c.Status)
	require.Contains(t, c.Found, "'cil_xdp_entry' (Cilium")
	require.True(t, r.Failed())
	require.Contains(t, sh(t, ns, "ip link show eth0"), "prog/xdp", "it is still attached")
}

func TestMissingUplink(t *testing.T) {
	o, ns := node(t)
	sh(t, ns, "ip link set eth0 down")
	c := named(t, Run(o), "uplink")
	require.Equal(t, Fail, c.Status)
	require.Contains(t, c.Found, "ip link set eth0 up")
}

func TestWithoutAnyCapability(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("dropping capabilities needs some")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("there is no setpriv")
	}
	cmd := exec.Command(setpriv, "--bounding-set=-all", "--inh-caps=-all", os.Args[0])
	cmd.Env = append(os.Environ(), runEnv+"=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	var r Report
	require.NoError(t, json.Unmarshal(out, &r), "%s", out)
	require.True(t, r.Failed())
	require.Contains(t, named(t, r, "capabilities").Found, "missing: NET_ADMIN, NET_RAW, SYS_ADMIN, BPF")
	require.Equal(t, Skip, named(t, r, "AF_XDP").Status)
	require.Equal(t, Fail, named(t, r, "pod namespaces").Status)
	require.Len(t, r.Checks, len(checks))
}
