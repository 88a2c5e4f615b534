// SPDX-License-Identifier: Apache-2.0

// Package usecases runs whole meshes: two nodes out of network namespaces, and
// registry, nsmgrs, forwarders, clients and endpoints as real processes.
package usecases

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/status"
)

// bin is the folder of the programs: the one that NSM_BIN names, else they are
// built once for all tests.
var bin string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // the tests skip themselves
	}
	if bin = os.Getenv("NSM_BIN"); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nsm-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
	build.Dir, build.Stdout, build.Stderr = "../..", os.Stderr, os.Stderr
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs:", err)
		return 1
	}
	bin = dir
	return m.Run()
}

// patience is how many times as long as usual steps may take: NSM_TEST_PATIENCE,
// for machines without a processor of their own.
var patience = func() time.Duration {
	if n, err := strconv.Atoi(os.Getenv("NSM_TEST_PATIENCE")); err == nil {
		return time.Duration(n)
	}
	return 1
}()

// newLab makes a lab that is closed with the test, and prints the ends of its
// logs if the test failed.
func newLab(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab of network namespaces needs root")
	}
	cfg.Tag, cfg.Bin = "test", bin
	l, err := lab.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range l.Processes() {
				t.Logf("--- %s ---\n%s", p.Log, p.Tail(40))
			}
			keepLogs(t, l)
		}
		require.NoError(t, l.Close())
	})
	return l
}

// keepLogs copies the logs of a failed test to the folder that NSM_TEST_LOGS
// names, if it does.
func keepLogs(t *testing.T, l *lab.Lab) {
	to := os.Getenv("NSM_TEST_LOGS")
	if to == "" {
		return
	}
	for _, p := range l.Processes() {
		text, err := os.ReadFile(p.Log)
		if err != nil {
			continue
		}
		name := filepath.Join(to, t.Name(), filepath.Base(filepath.Dir(p.Log)), filepath.Base(p.Log))
		_ = os.MkdirAll(filepath.Dir(name), 0o755)
		_ = os.WriteFile(name, text, 0o644)
	}
}

// startLab is newLab with the mesh running.
func startLab(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	l := newLab(t, cfg)
	require.NoError(t, l.Start(within(t, 30*time.Second)))
	return l
}

// within is a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience*d)
	t.Cleanup(cancel)
	return ctx
}

// statusOf asks a node's forwarder.
func statusOf(t *testing.T, n *lab.Node) *status.Status {
	t.Helper()
	s, err := n.Status(t.Context())
	require.NoError(t, err)
	return s
}

// eventually polls a condition that a process of the lab is to bring about.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	started := time.Now()
	for !ok() {
		if time.Since(started) > patience*limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(started)
}

// links reads the links in a namespace, without lo.
func links(t *testing.T, ns *lab.Namespace) map[string]netlink.LinkAttrs {
	t.Helper()
	found := map[string]netlink.LinkAttrs{}
	require.NoError(t, netns.Do(ns.Path, func() error {
		all, err := netlink.LinkList()
		for _, l := range all {
			if a := l.Attrs(); a.Name != "lo" {
				found[a.Name] = *a
			}
		}
		return err
	}))
	return found
}

// interfaces lists the names of the links in a namespace, without lo.
func interfaces(t *testing.T, ns *lab.Namespace) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(links(t, ns)))
}

// linkIn reads an interface.
func linkIn(t *testing.T, ns *lab.Namespace, name string) netlink.LinkAttrs {
	t.Helper()
	attrs, ok := links(t, ns)[name]
	require.True(t, ok, "no interface %s in %s", name, ns.Name)
	return attrs
}

// requireNothingLeft checks that the connection's link, pinhole and interfaces
// are gone, on a lab with no other connection.
func requireNothingLeft(t *testing.T, l *lab.Lab, pods ...*lab.Namespace) {
	t.Helper()
	eventually(t, 5*time.Second, "interfaces in pods are gone", func() bool {
		for _, pod := range pods {
			if len(links(t, pod)) > 0 {
				return false
			}
		}
		return true
	})
	for _, n := range l.Nodes {
		// A link is gone before its pinhole is closed, and that before the close is done.
		eventually(t, 5*time.Second, "connections are closed", func() bool {
			s := statusOf(t, n)
			return len(s.Links)+len(s.Pinholes)+len(s.Hops) == 0
		})
		requireItsOwnLinks(t, n)
	}
}

// requireItsOwnLinks checks that a node has the links of the underlay and no other.
func requireItsOwnLinks(t *testing.T, n *lab.Node) {
	t.Helper()
	own := slices.Compact([]string{lab.UplinkName, n.Uplink()})
	require.Equal(t, own, interfaces(t, n.Namespace))
}

// requireForwarderLeavesNothing ends a forwarder and checks that its node is as
// it was before.
func requireForwarderLeavesNothing(t *testing.T, n *lab.Node) {
	t.Helper()
	require.NoError(t, n.Forwarder.Stop(10*time.Second))
	require.NoError(t, n.Forwarder.Err(), "exit code after SIGTERM")
	pins, err := filepath.Glob(filepath.Join(n.BPFFS(), "*", "*"))
	require.NoError(t, err)
	require.Empty(t, pins)
	requireItsOwnLinks(t, n)
	xdp := linkIn(t, n.Namespace, lab.UplinkName).Xdp
	require.True(t, xdp == nil || !xdp.Attached, "an XDP program is left on the uplink")
}
