// SPDX-License-Identifier: Apache-2.0

package expire_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/expire"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type nse = registry.NetworkServiceEndpoint

// withToken is the context of a call whose caller's token expires after left.
func withToken(left time.Duration) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(
		"nsm-client-token", "token",
		"nsm-client-token-expires", time.Now().Add(left).Format(time.RFC3339Nano),
	))
}

func newServer(ctx context.Context, expiration time.Duration, after ...registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer {
	return next.NewNetworkServiceEndpointRegistryServer(append([]registry.NetworkServiceEndpointRegistryServer{
		begin.NewNetworkServiceEndpointRegistryServer(),
		expire.NewNetworkServiceEndpointRegistryServer(ctx, expire.WithDefaultExpiration(expiration)),
		memory.NewNetworkServiceEndpointRegistryServer(),
	}, after...)...)
}

func registered(t *testing.T, server registry.NetworkServiceEndpointRegistryServer) int {
	stream, err := adapters.NetworkServiceEndpointServerToClient(server).Find(context.Background(), &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: new(nse)})
	require.NoError(t, err)
	return len(registry.ReadNetworkServiceEndpointList(stream))
}

func TestExpirationTimeIsTheEarliest(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range []struct {
		name                    string
		token, byDefault, asked time.Duration
		want                    time.Duration
	}{
		{"the token's", time.Minute, time.Hour, 0, time.Minute},
		{"the default", time.Hour, time.Minute, 0, time.Minute},
		{"no default", time.Hour, 0, 0, time.Hour},
		{"what is asked for", time.Hour, time.Hour, time.Minute, time.Minute},
		{"not more than allowed", time.Hour, time.Minute, 24 * time.Hour, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := &nse{Name: "nse"}
			if c.asked != 0 {
				in.ExpirationTime = timestamppb.New(time.Now().Add(c.asked))
			}
			out, err := newServer(ctx, c.byDefault).Register(withToken(c.token), in)
			require.NoError(t, err)
			require.InDelta(t, c.want, time.Until(out.GetExpirationTime().AsTime()), float64(time.Second))
		})
	}
}

func TestExpires(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := newServer(ctx, 100*time.Millisecond)
	start := time.Now()
	_, err := server.Register(withToken(time.Hour), &nse{Name: "nse"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return registered(t, server) == 0 }, 5*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(start), 95*time.Millisecond, "not before the time that was promised")
}

func TestARefreshExtends(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := newServer(ctx, 300*time.Millisecond)
	for start := time.Now(); time.Since(start) < 700*time.Millisecond; time.Sleep(20 * time.Millisecond) {
		_, err := server.Register(withToken(time.Hour), &nse{Name: "nse"})
		require.NoError(t, err)
		require.Equal(t, 1, registered(t, server))
	}
	_, err := server.Unregister(withToken(time.Hour), &nse{Name: "nse"})
	require.NoError(t, err)
	require.Zero(t, registered(t, server))
}

// refuse the second Register.
type refuse struct {
	either.PassNSEServer
	calls int
}

func (r *refuse) Register(ctx context.Context, in *nse) (*nse, error) {
	if r.calls++; r.calls > 1 {
		return nil, errors.New("refused")
	}
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, in)
}

func TestAFailedRefreshDoesNotExtend(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := newServer(ctx, 100*time.Millisecond, new(refuse))
	_, err := server.Register(withToken(time.Hour), &nse{Name: "nse"})
	require.NoError(t, err)
	_, err = server.Register(withToken(time.Hour), &nse{Name: "nse"})
	require.Error(t, err)
	require.Eventually(t, func() bool { return registered(t, server) == 0 }, 5*time.Second, time.Millisecond)
}
