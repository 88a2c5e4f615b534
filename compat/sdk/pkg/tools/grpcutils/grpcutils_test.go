// SPDX-License-Identifier: Apache-2.0

package grpcutils_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

func TestURLsAndTargets(t *testing.T) {
	for text, want := range map[string]string{
		"tcp://1.2.3.4:5":    "1.2.3.4:5",
		"tcp://[::1]:5":      "[::1]:5",
		"tcp://registry:5":   "registry:5",
		"unix:///run/x.sock": "unix:///run/x.sock",
		"dns:///registry:5":  "dns:///registry:5",
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, grpcutils.URLToTarget(u))
	}
	require.Empty(t, grpcutils.URLToTarget(nil))
	for target, want := range map[string][2]string{
		"unix:///run/x.sock":  {"unix", "/run/x.sock"},
		"unix:/run/x.sock":    {"unix", "/run/x.sock"},
		"unix:x.sock":         {"unix", "x.sock"},
		"unix://host/x.sock":  {"unix", "/x.sock"},
		"registry:5":          {"tcp", "registry:5"},
		"passthrough:///x:5 ": {"tcp", "passthrough:///x:5 "},
	} {
		network, address := grpcutils.TargetToNetAddr(target)
		require.Equal(t, want, [2]string{network, address}, target)
	}
	for want, addr := range map[string]net.Addr{
		"tcp://:5":           &net.TCPAddr{IP: net.IPv6unspecified, Port: 5},
		"tcp://127.0.0.1:5":  &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5},
		"tcp://[::1]:5":      &net.TCPAddr{IP: net.IPv6loopback, Port: 5},
		"unix:///run/x.sock": &net.UnixAddr{Name: "/run/x.sock", Net: "unix"},
	} {
		require.Equal(t, want, grpcutils.AddressToURL(addr).String())
	}
	require.Equal(t, "unix:///run/x.sock", grpcutils.TargetToURL("unix:/run/x.sock").String())
	require.Equal(t, "tcp://registry:5", grpcutils.TargetToURL("registry:5").String())
}

func TestUnwrapCode(t *testing.T) {
	denied := status.Error(codes.PermissionDenied, "no")
	for want, err := range map[codes.Code]error{
		codes.OK:               nil,
		codes.Unknown:          errors.New("plain"),
		codes.PermissionDenied: fmt.Errorf("a: %w", fmt.Errorf("b: %w", denied)),
	} {
		require.Equal(t, want, grpcutils.UnwrapCode(err))
	}
}

func TestTracingIsHandedOn(t *testing.T) {
	in := func(value string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs("GrpcTracing", value))
	}
	require.Equal(t, grpcutils.TraceUndefined, grpcutils.TraceFromContext(t.Context()))
	require.Equal(t, grpcutils.TraceUndefined, grpcutils.TraceFromContext(in("x")))
	require.Equal(t, grpcutils.TraceOn, grpcutils.TraceFromContext(in("1")))
	out := func(ctx context.Context) []string {
		md, _ := metadata.FromOutgoingContext(ctx)
		return md.Get("GrpcTracing")
	}
	require.Equal(t, []string{"1"}, out(grpcutils.PassTraceToOutgoing(in("1"))))
	require.Equal(t, []string{"2"}, out(grpcutils.PassTraceToOutgoing(grpcutils.WithTrace(in("1"), grpcutils.TraceOff))))
}

func serve(t *testing.T, ctx context.Context, address *url.URL) <-chan error {
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return grpcutils.ListenAndServe(ctx, address, server)
}

func requireServing(t *testing.T, address *url.URL) {
	t.Helper()
	cc, err := grpc.NewClient(grpcutils.URLToTarget(address), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { _ = cc.Close() }()
	_, err = grpc_health_v1.NewHealthClient(cc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
}

func TestListenAndServe(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "new", "folder", "x.sock")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(t, os.WriteFile(path, []byte("left over"), 0o600))
	for _, address := range []*url.URL{
		{Scheme: "unix", Path: filepath.Join(t.TempDir(), "new", "folder", "x.sock")},
		{Scheme: "unix", Path: path},
		{Scheme: "tcp", Host: "127.0.0.1:0"},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		errCh := serve(t, ctx, address)
		require.NotEqual(t, "127.0.0.1:0", address.Host)
		requireServing(t, address)
		if address.Scheme == "unix" {
			info, err := os.Stat(address.Path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o777), info.Mode().Perm())
		}
		cancel()
		err, open := <-errCh
		require.NoError(t, err)
		require.False(t, open)
	}
}

func TestListenAndServeWhereItCannot(t *testing.T) {
	defer goleak.VerifyNone(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	errCh := serve(t, t.Context(), &url.URL{Scheme: "unix", Path: filepath.Join(file, "x.sock")})
	require.Error(t, <-errCh)
	_, open := <-errCh
	require.False(t, open)
}
