// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"net"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

// TCP returns a URL on loopback whose port is free.
func TCP(t testing.TB) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return &url.URL{Scheme: "tcp", Host: listener.Addr().String()}
}

// Unix returns the URL of a socket in a directory of the test.
func Unix(t testing.TB, name string) *url.URL {
	t.Helper()
	return &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), name)}
}

// Process is a running gRPC server. Its context ends when it is killed.
type Process struct {
	Context context.Context
	kill    func()
}

// Start makes a process: build gets its context and returns what registers its
// services. It is killed with the test at the latest.
func Start(t testing.TB, identity *Identity, build func(ctx context.Context) (register func(*grpc.Server)), listenOn ...*url.URL) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	server := grpc.NewServer(identity.ServerOptions()...)
	build(ctx)(server)

	var ended []<-chan error
	for _, u := range listenOn {
		u := *u
		ended = append(ended, grpcutils.ListenAndServe(ctx, &u, server))
	}
	for _, errs := range ended {
		select {
		case err := <-errs:
			require.NoError(t, err)
		default:
		}
	}
	killed := false
	p := &Process{Context: ctx, kill: func() {
		if killed {
			return
		}
		killed = true
		cancel()
		server.Stop()
		for _, errs := range ended {
			for range errs { //nolint:revive // wait until it has ended
			}
		}
	}}
	t.Cleanup(p.kill)
	return p
}

// Kill ends the process at once: connections break, nothing is closed or
// unregistered.
func (p *Process) Kill() { p.kill() }
