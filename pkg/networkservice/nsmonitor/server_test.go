// SPDX-License-Identifier: Apache-2.0

package nsmonitor_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/nsmonitor"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// tail leaves a kernel port and tells when it is closed.
type tail struct {
	port   plane.Port
	closed chan struct{}
}

func (e *tail) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	port.Store(ctx, true, e.port)
	return next.Server(ctx).Request(ctx, request)
}

func (e *tail) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	close(e.closed)
	return next.Server(ctx).Close(ctx, conn)
}

// startPod runs a process in a network namespace of its own, and returns the
// namespace held open, as the forwarder holds a pod's.
func startPod(t *testing.T) (*exec.Cmd, plane.Kernel) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	held, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net")
	require.NoError(t, err)
	t.Cleanup(func() { _ = held.Close() })
	path := "/proc/self/fd/" + strconv.Itoa(int(held.Fd()))
	dev, ino, err := netns.Identity(path)
	require.NoError(t, err)
	return cmd, plane.Kernel{NetNS: path, Device: dev, Inode: ino, Name: "nsm-1"}
}

func newServer(t *testing.T, p plane.Port) (networkservice.NetworkServiceServer, *tail) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	monitor, err := nsmonitor.NewServer(ctx)
	require.NoError(t, err)
	e := &tail{port: p, closed: make(chan struct{})}
	return chain.NewNetworkServiceServer(begin.NewServer(), metadata.NewServer(), monitor, e), e
}

var request = &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "c1"}}

func TestConnectionClosesWhenThePodEnds(t *testing.T) {
	for name, of := range map[string]func(plane.Kernel) plane.Port{
		"kernel": func(k plane.Kernel) plane.Port { return k },
		"memif": func(k plane.Kernel) plane.Port {
			return plane.Memif{Socket: "@memif", NetNS: k.NetNS, Device: k.Device, Inode: k.Inode, Master: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod, p := startPod(t)
			server, e := newServer(t, of(p))
			_, err := server.Request(context.Background(), request.Clone())
			require.NoError(t, err)

			require.NoError(t, pod.Process.Kill())
			_ = pod.Wait()
			select {
			case <-e.closed:
			case <-time.After(5 * time.Second):
				t.Fatal("the connection was not closed")
			}
		})
	}
}

func TestConnectionStaysWhileAProcessIsLeft(t *testing.T) {
	pod, p := startPod(t)
	second := exec.Command("sleep", "60")
	require.NoError(t, netns.Do(p.NetNS, second.Start))
	t.Cleanup(func() {
		_ = second.Process.Kill()
		_ = second.Wait()
	})
	server, e := newServer(t, p)
	_, err := server.Request(context.Background(), request.Clone())
	require.NoError(t, err)

	require.NoError(t, pod.Process.Kill())
	_ = pod.Wait()
	select {
	case <-e.closed:
		t.Fatal("the connection was closed with a process left in the pod")
	case <-time.After(200 * time.Millisecond):
	}
	require.NoError(t, second.Process.Kill())
	_ = second.Wait()
	select {
	case <-e.closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection was not closed")
	}
}

func TestCloseEndsTheWatch(t *testing.T) {
	pod, p := startPod(t)
	server, e := newServer(t, p)
	conn, err := server.Request(context.Background(), request.Clone())
	require.NoError(t, err)
	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	<-e.closed // a second close would panic

	require.NoError(t, pod.Process.Kill())
	_ = pod.Wait()
	// Another pod's end shows that the first one's has been passed over.
	other, q := startPod(t)
	e2 := &tail{port: q, closed: make(chan struct{})}
	*e = *e2
	_, err = server.Request(context.Background(), request.Clone())
	require.NoError(t, err)
	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	select {
	case <-e2.closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the second connection was not closed")
	}
}
