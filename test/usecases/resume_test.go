// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// talk is a TCP connection from the client to the endpoint that stays open.
type talk struct{ ends [2]net.Conn }

func (a *adopted) talk(t *testing.T) *talk {
	t.Helper()
	var listener net.Listener
	require.NoError(t, netns.Do(a.Endpoint.Pod.Path, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(a.EndpointAddr().String(), "0"))
		return err
	}))
	defer func() { _ = listener.Close() }()
	k := &talk{}
	require.NoError(t, netns.Do(a.Client.Pod.Path, func() (err error) {
		k.ends[0], err = net.DialTimeout("tcp", listener.Addr().String(), patience*10*time.Second)
		return err
	}))
	var err error
	k.ends[1], err = listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.ends[0].Close(); _ = k.ends[1].Close() })
	k.goesOn(t)
	return k
}

// goesOn has both ends say something, and returns when they have heard it.
func (k *talk) goesOn(t *testing.T) {
	t.Helper()
	said := bytes.Repeat([]byte("still there? "), 10000)
	for i, from := range k.ends {
		to := k.ends[1-i]
		deadline := time.Now().Add(patience * 30 * time.Second)
		require.NoError(t, from.SetDeadline(deadline))
		require.NoError(t, to.SetDeadline(deadline))
		failed := make(chan error, 1)
		go func() {
			_, err := from.Write(said)
			failed <- err
		}()
		heard := make([]byte, len(said))
		_, err := io.ReadFull(to, heard)
		require.NoError(t, err)
		require.NoError(t, <-failed)
		require.Equal(t, said, heard)
	}
}

// awaitPackets returns when the endpoint answers.
func (a *adopted) awaitPackets(t *testing.T) {
	t.Helper()
	w := a.Ways()[0]
	eventually(t, 10*time.Second, a.Name+": packets flow", func() bool {
		_, err := w.Ping(within(t, 5*time.Second), "-c", "1", "-W", "0.2")
		return err == nil
	})
}

// addresses are those of the interfaces of client and endpoint, with the routes.
func (a *adopted) addresses(t *testing.T) (all [2]string) {
	t.Helper()
	for i, pod := range []*lab.Namespace{a.Client.Pod, a.Endpoint.Pod} {
		for name := range links(t, pod) {
			for _, args := range [][]string{{"-o", "addr", "show", "dev", name}, {"route", "show"}} {
				out, err := lab.Run(within(t, 5*time.Second), pod.Path, "ip", args...)
				require.NoError(t, err)
				// Without its carrier Linux shows a route with one more word.
				all[i] += string(bytes.ReplaceAll([]byte(out), []byte(" linkdown"), nil))
			}
		}
	}
	return all
}

// TestKernelPlaneResumesWireGuard ends forwarders that are the tunnel themselves,
// for want of a device of Linux. Their clients are stopped, so that nobody asks for
// the connection: the next run resumes it by itself. When the clients go on, it is
// taken over, and pods never miss an interface.
func TestKernelPlaneResumesWireGuard(t *testing.T) {
	lifetime := patience * 5 * time.Second
	l := startLab(t, lab.Config{Planes: [2]string{"kernel", "kernel"}, MaxTokenLifetime: lifetime})
	a := adoptable(t, l, "Kernel2IP2Kernel")
	if a.lasts() {
		t.Skip("this kernel has WireGuard")
	}
	for _, n := range l.Nodes {
		requireSecret(t, n)
	}
	k := a.talk(t)
	addresses := a.addresses(t)
	for _, victims := range []struct {
		name  string
		nodes []*lab.Node
	}{
		{"both forwarders are killed", l.Nodes},
		{"the client's forwarder is killed", l.Nodes[:1]},
		{"the endpoint's forwarder is killed", l.Nodes[1:]},
	} {
		t.Run(victims.name, func(t *testing.T) {
			require.NoError(t, syscall.Kill(a.Client.PID(), syscall.SIGSTOP))
			for _, n := range victims.nodes {
				n.Forwarder.Kill()
			}
			require.Equal(t, a.index, a.indices(t), "interfaces stay")
			require.Equal(t, addresses, a.addresses(t), "with addresses and routes")
			started := time.Now()
			for _, n := range victims.nodes {
				require.NoError(t, n.RestartForwarder(within(t, 20*time.Second)))
			}
			a.awaitPackets(t)
			t.Logf("packets flow %v after the start", time.Since(started).Round(time.Millisecond))
			k.goesOn(t)
			t.Logf("and the TCP connection goes on, %v after", time.Since(started).Round(time.Millisecond))

			// From here on nothing may be lost.
			a.watch(t)
			require.NoError(t, syscall.Kill(a.Client.PID(), syscall.SIGCONT))
			// What nobody had asked for would be removed by then.
			time.Sleep(lifetime + time.Second)
			a.stop(t)
			require.True(t, a.back(t, l), "it was asked for")
			require.Equal(t, a.index, a.indices(t), "it has the same interfaces")
			require.Equal(t, addresses, a.addresses(t))
			k.goesOn(t)
		})
	}
	require.NoError(t, a.Client.Stop(10*time.Second))
	requireNothingLeft(t, l, a.Client.Pod, a.Endpoint.Pod)
	for _, n := range l.Nodes {
		requireForwarderLeavesNothing(t, n)
		requireNothingWrittenDown(t, n)
	}
}

// requireSecret checks that only the forwarder can read the keys that it has written
// down.
func requireSecret(t *testing.T, n *lab.Node) {
	t.Helper()
	folder := filepath.Join(n.Dir, "forwarder.state.links")
	info, err := os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	all, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, all, 1)
	info, err = all[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}
