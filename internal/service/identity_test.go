// SPDX-License-Identifier: Apache-2.0

package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/internal/spiffe"
)

// identity returns who is at path; the Workload API is found by the environment, as in
// a pod.
func identity(t *testing.T, a *spiffe.Authority, path string) *service.Identity {
	t.Helper()
	w, err := a.Listen(filepath.Join(t.TempDir(), "agent"), path)
	require.NoError(t, err)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", w.URL())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	i, err := service.NewIdentity(ctx, 10*time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { _ = i.Close() })
	return i
}

func authority(t *testing.T) *spiffe.Authority {
	t.Helper()
	a, err := spiffe.NewAuthority(spiffe.Config{})
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

// health answers with what it was called with, for tests to look at.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	calls chan context.Context
}

func (h *health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	h.calls <- ctx
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func check(t *testing.T, target string, options ...grpc.DialOption) error {
	t.Helper()
	cc, err := grpc.NewClient(target, options...)
	require.NoError(t, err)
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestCallsCarryIdentityTokenAndDescriptors(t *testing.T) {
	a := authority(t)
	server, client := identity(t, a, "/server"), identity(t, a, "/client")
	require.Equal(t, "spiffe://k8s.nsm/client", client.ID().String())

	h := &health{calls: make(chan context.Context, 4)}
	s := grpc.NewServer(server.ServerOptions()...)
	grpc_health_v1.RegisterHealthServer(s, h)
	ctx, cancel := context.WithCancel(t.Context())
	socket := &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "s")}
	tcp := &url.URL{Scheme: "tcp", Host: "127.0.0.1:0"}
	wait, err := service.Serve(ctx, s, func(err error) { t.Errorf("serving failed: %v", err) }, socket, tcp)
	require.NoError(t, err)
	defer wait()
	defer cancel()
	require.NotEqual(t, "127.0.0.1:0", tcp.Host, "the real port must be written back")

	for name, target := range map[string]string{"unix": "unix:" + socket.Path, "tcp": tcp.Host} {
		require.NoError(t, check(t, target, client.DialOptions()...), name)
		called := <-h.calls
		text, expires, err := token.FromContext(called)
		require.NoError(t, err, name)
		require.NotEmpty(t, text)
		require.WithinDuration(t, time.Now().Add(10*time.Minute), expires, 10*time.Second)
		caller, ok := peer.FromContext(called)
		require.True(t, ok)
		certificate := caller.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0]
		require.Equal(t, "spiffe://k8s.nsm/client", certificate.URIs[0].String())
		_, descriptors := grpcfd.FromContext(called)
		require.Equal(t, name == "unix", descriptors, name)
	}

	require.Error(t, check(t, tcp.Host, grpc.WithTransportCredentials(insecure.NewCredentials())), "plain text was served")
	stranger := identity(t, authority(t), "/client")
	err = check(t, tcp.Host, stranger.DialOptions()...)
	require.Equal(t, codes.Unavailable, status.Code(err), "an SVID of another authority was served: %v", err)
}

func TestACallToNobodyFailsAtOnce(t *testing.T) {
	client := identity(t, authority(t), "/client")
	started := time.Now()
	err := check(t, "unix:"+filepath.Join(t.TempDir(), "nobody"), client.DialOptions()...)
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	require.Less(t, time.Since(started), 2*time.Second)
}

func TestWithoutAWorkloadAPITheErrorSaysWhatToDo(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	_, err := service.NewIdentity(t.Context(), time.Minute)
	require.ErrorContains(t, err, "SPIFFE_ENDPOINT_SOCKET is not set")

	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "unix://"+filepath.Join(t.TempDir(), "none"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = service.NewIdentity(ctx, time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "none")
}

func TestServeReportsWhatCannotBeServed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	first := url.URL{Scheme: "tcp", Host: "127.0.0.1:0"}
	_, err = service.Serve(t.Context(), grpc.NewServer(), func(error) {},
		service.Pointers([]url.URL{first, {Scheme: "tcp", Host: taken.Addr().String()}})...)
	require.ErrorContains(t, err, taken.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestLevelFollowsSignals(t *testing.T) {
	before := logrus.GetLevel()
	defer logrus.SetLevel(before)
	_, err := service.Logging(t.Context(), "x", "loud")
	require.ErrorContains(t, err, `NSM_LOG_LEVEL="loud"`)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err = service.Logging(ctx, "x", "warn")
	require.NoError(t, err)
	require.Equal(t, logrus.WarnLevel, logrus.GetLevel())
	for _, step := range []struct {
		signal syscall.Signal
		want   logrus.Level
	}{{syscall.SIGUSR1, logrus.TraceLevel}, {syscall.SIGUSR2, logrus.WarnLevel}} {
		require.NoError(t, syscall.Kill(os.Getpid(), step.signal))
		require.Eventually(t, func() bool { return logrus.GetLevel() == step.want }, 5*time.Second, time.Millisecond, "%v", step.signal)
	}
}

func TestProfilesAreServedOnDemand(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	telemetry := &service.Telemetry{PprofEnabled: true, PprofListenOn: address}
	_, err = telemetry.Start(t.Context(), "x")
	require.ErrorContains(t, err, "NSM_PPROF_LISTEN_ON")
	require.NoError(t, free.Close())

	stop, err := telemetry.Start(t.Context(), "x")
	require.NoError(t, err)
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/cmdline", address))
	require.NoError(t, err)
	_ = response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	stop()
	_, err = net.Dial("tcp", address)
	require.True(t, errors.Is(err, syscall.ECONNREFUSED), "%v", err)

	stop, err = (&service.Telemetry{PprofListenOn: address}).Start(t.Context(), "x")
	require.NoError(t, err)
	defer stop()
	_, err = net.Dial("tcp", address)
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "nobody asked for profiles")
}
