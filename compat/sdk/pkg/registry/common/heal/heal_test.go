// SPDX-License-Identifier: Apache-2.0

package heal_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/refresh"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

const patience = 10 * time.Second

type nse = registry.NetworkServiceEndpoint

func query(name string, watch bool) *registry.NetworkServiceEndpointQuery {
	return &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: &nse{Name: name}, Watch: watch}
}

// registryProcess is a registry that can be killed and started again.
type registryProcess struct {
	t         *testing.T
	authority *sandbox.Authority
	start     func(expiration time.Duration) *sandbox.Process
	dial      []client.Option
}

func newRegistry(t *testing.T) *registryProcess {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	r := &registryProcess{t: t, authority: sandbox.NewAuthority(t)}
	u := sandbox.TCP(t)
	r.start = func(expiration time.Duration) *sandbox.Process {
		identity := r.authority.Issue(t, "registry")
		return sandbox.Start(t, identity, func(ctx context.Context) func(*grpc.Server) {
			return memory.NewServer(ctx, identity.Tokens(), memory.WithDefaultExpiration(expiration)).Register
		}, u)
	}
	r.dial = []client.Option{client.WithClientURL(u)}
	return r
}

func (r *registryProcess) client(name string) registry.NetworkServiceEndpointRegistryClient {
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(cancel)
	return client.NewNetworkServiceEndpointRegistryClient(ctx, append(r.dial, client.WithDialOptions(r.authority.Issue(r.t, name).DialOptions()...))...)
}

func found(t *testing.T, c registry.NetworkServiceEndpointRegistryClient, name string) []*nse {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := c.Find(ctx, query(name, false))
	require.NoError(t, err)
	return registry.ReadNetworkServiceEndpointList(stream)
}

func TestRegistryRestart(t *testing.T) {
	r := newRegistry(t)
	process := r.start(time.Minute)
	endpoint, watcher := r.client("endpoint"), r.client("watcher")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	_, err := endpoint.Register(ctx, &nse{Name: "nse", Url: "tcp://10.0.0.1"})
	require.NoError(t, err)
	stream, err := watcher.Find(ctx, query("nse", true))
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)

	for range 3 {
		process.Kill()
		time.Sleep(300 * time.Millisecond) // tries fail for a while
		process = r.start(time.Minute)
		start := time.Now()
		require.Eventually(t, func() bool { return len(found(t, watcher, "nse")) == 1 }, patience, 5*time.Millisecond)
		took := time.Since(start)
		t.Logf("registered again after %v", took)
		require.Less(t, took, time.Second)

		response, err := stream.Recv()
		require.NoError(t, err, "the watch goes on")
		require.Equal(t, "nse", response.GetNetworkServiceEndpoint().GetName())
	}

	_, err = endpoint.Unregister(ctx, &nse{Name: "nse"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		response, err := stream.Recv()
		require.NoError(t, err)
		return response.GetDeleted()
	}, patience, time.Millisecond)
	process.Kill()
	r.start(time.Minute)
	time.Sleep(500 * time.Millisecond)
	require.Empty(t, found(t, watcher, "nse"), "what was unregistered does not come back")
}

func TestRegisterWaitsForTheRegistry(t *testing.T) {
	r := newRegistry(t)
	endpoint := r.client("endpoint")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := endpoint.Register(ctx, &nse{Name: "nse", Url: "tcp://10.0.0.1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused", "the error says why")

	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := endpoint.Register(ctx, &nse{Name: "nse", Url: "tcp://10.0.0.1"})
		done <- err
	}()
	r.start(time.Minute)
	require.NoError(t, <-done)
}

func TestRefreshKeepsTheRegistration(t *testing.T) {
	r := newRegistry(t)
	r.start(600 * time.Millisecond)
	endpoint, watcher := r.client("endpoint"), r.client("watcher")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	first, err := endpoint.Register(ctx, &nse{Name: "nse", Url: "tcp://10.0.0.1"})
	require.NoError(t, err)
	require.NotNil(t, first.GetExpirationTime())
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		list := found(t, watcher, "nse")
		require.Len(t, list, 1)
		require.Equal(t, first.GetInitialRegistrationTime().AsTime(), list[0].GetInitialRegistrationTime().AsTime())
	}
}

func TestAnExpiredRegistrationComesBack(t *testing.T) {
	r := newRegistry(t)
	r.start(time.Minute)
	endpoint, other := r.client("endpoint"), r.client("other")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := endpoint.Register(ctx, &nse{Name: "nse", Url: "tcp://10.0.0.1"})
	require.NoError(t, err)
	_, err = other.Unregister(ctx, &nse{Name: "nse"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(found(t, other, "nse")) == 1 }, patience, 10*time.Millisecond,
		"deleted by somebody else, before or after the watch was opened")
}

// clock answers with an expiration and notes when it was asked.
type clock struct {
	either.PassNSEClient
	expires time.Duration
	calls   chan time.Time
}

func (c *clock) Register(_ context.Context, in *nse, _ ...grpc.CallOption) (*nse, error) {
	c.calls <- time.Now()
	out := in.Clone()
	out.ExpirationTime = timestamppb.New(time.Now().Add(c.expires))
	return out, nil
}

func TestRefreshComesAtTwoThirds(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &clock{expires: 600 * time.Millisecond, calls: make(chan time.Time, 100)}
	chain := next.NewNetworkServiceEndpointRegistryClient(
		begin.NewNetworkServiceEndpointRegistryClient(), refresh.NewNetworkServiceEndpointRegistryClient(ctx), c)
	_, err := chain.Register(ctx, &nse{Name: "nse"})
	require.NoError(t, err)
	last := <-c.calls
	for range 3 {
		at := <-c.calls
		require.InDelta(t, 400*time.Millisecond, at.Sub(last), float64(100*time.Millisecond))
		last = at
	}
	_, err = chain.Unregister(ctx, &nse{Name: "nse"})
	require.NoError(t, err)
	for len(c.calls) > 0 {
		<-c.calls
	}
	time.Sleep(500 * time.Millisecond)
	require.Empty(t, c.calls, "no refresh after the Unregister")
}
