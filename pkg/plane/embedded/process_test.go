// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"testing"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// childEnv makes the test binary a node with a plane, in a process of its own.
const childEnv = "NSM_EMBEDDED_TEST_NODE"

// child is what such a process is told.
type child struct {
	Node, Pod string // paths of network namespaces
	Index     int
	Addrs     [2]netip.Addr
	WireGuard bool   // instead of VXLAN
	Profile   string // file for a CPU profile
}

// A child that runs on behalf of TestMain is a test itself, so that it can use
// what tests use. It ends when its standard input does.
func TestChild(t *testing.T) {
	spec := os.Getenv(childEnv)
	if spec == "" {
		t.Skip("is run by other tests, in a process of its own")
	}
	var c child
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, openNamespace(t, c.Node), c.Addrs[c.Index], nil)
	pod := openNamespace(t, c.Pod)
	conn := &plane.Connection{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(c.Index, 7, c.Addrs)}
	if c.WireGuard {
		conn.Payload, conn.Endpoint = plane.IP, guard(c.Index, c.Addrs, c.Index == 1)
	}
	if _, err := n.Join(context.Background(), conn); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ready")
	if c.Profile != "" {
		f, err := os.Create(c.Profile)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	for _, l := range n.Links() {
		t.Logf("%+v", l)
	}
	for _, s := range n.socks {
		st, err := s.Statistics()
		t.Logf("%+v, %v", st, err)
	}
}

// openNamespace is a namespace that somebody else has made.
func openNamespace(t testing.TB, path string) *namespace {
	t.Helper()
	n := &namespace{path: path}
	var err error
	if n.handle, err = netns.NetlinkHandle(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.handle.Close)
	return n
}

// process is a node in a process of its own.
type process struct {
	cmd    *exec.Cmd
	pod    *namespace
	killed bool
}

// kill ends the process by SIGKILL.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // says that it was killed
}

// startProcess starts node i of the underlay in a process, with a pod.
func (u *underlay) startProcess(t testing.TB, i int, addrs [2]netip.Addr, wireguard bool) *process {
	t.Helper()
	p := &process{pod: newNamespace(t)}
	spec, err := json.Marshal(child{Node: u.nodes[i].path, Pod: p.pod.path, Index: i, Addrs: addrs, WireGuard: wireguard, Profile: profile(i)})
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "ready" {
		t.Log(lines.Text())
	}
	t.Cleanup(func() {
		stdin.Close()
		for lines.Scan() {
			t.Log(lines.Text())
		}
		if err := p.cmd.Wait(); err != nil && !p.killed {
			t.Errorf("node %d: %v", i, err)
		}
	})
	p.pod.addr(t, "nsm-1", fmt.Sprintf("10.7.0.%d/24", i+1), fmt.Sprintf("fd07::%d/64", i+1))
	return p
}

// profile is where node i writes its CPU profile, empty for nowhere.
func profile(i int) string {
	dir := os.Getenv("NSM_EMBEDDED_PROFILE")
	if dir == "" {
		return ""
	}
	return fmt.Sprintf("%s/node-%d.pprof", dir, i)
}

// command runs a program in a namespace.
func (n *namespace) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.path, name}, args...)...)
}
