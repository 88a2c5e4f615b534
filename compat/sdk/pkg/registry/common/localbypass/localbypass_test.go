// SPDX-License-Identifier: Apache-2.0

package localbypass_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/localbypass"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

const nsmgrURL = "tcp://10.0.0.1:5001"

type nse = registry.NetworkServiceEndpoint

// gate refuses while closed.
type gate struct {
	either.PassNSEServer
	closed bool
}

func (g *gate) Register(ctx context.Context, in *nse) (*nse, error) {
	if g.closed {
		return nil, errors.New("refused")
	}
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, in)
}

// urls of what is found, by name.
func urls(t *testing.T, server registry.NetworkServiceEndpointRegistryServer, url string) map[string]string {
	t.Helper()
	stream, err := adapters.NetworkServiceEndpointServerToClient(server).Find(context.Background(),
		&registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: &nse{Url: url}})
	require.NoError(t, err)
	found := make(map[string]string)
	for _, e := range registry.ReadNetworkServiceEndpointList(stream) {
		found[e.GetName()] = e.GetUrl()
	}
	return found
}

func TestLocalAndRemote(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx := context.Background()
	remote, closed := memory.NewNetworkServiceEndpointRegistryServer(), new(gate)
	local := next.NewNetworkServiceEndpointRegistryServer(localbypass.NewNetworkServiceEndpointRegistryServer(nsmgrURL), closed, remote)

	out, err := local.Register(ctx, &nse{Name: "here", Url: "unix:///nse.sock"})
	require.NoError(t, err)
	require.Equal(t, "unix:///nse.sock", out.GetUrl())
	for name, url := range map[string]string{"there": "tcp://10.0.0.2:5001", "from-before": nsmgrURL} {
		_, err := remote.Register(ctx, &nse{Name: name, Url: url})
		require.NoError(t, err)
	}
	require.Equal(t, nsmgrURL, urls(t, remote, "")["here"], "others see the nsmgr")
	require.Equal(t, map[string]string{"here": "unix:///nse.sock", "there": "tcp://10.0.0.2:5001"}, urls(t, local, ""))
	require.Equal(t, map[string]string{"here": "unix:///nse.sock"}, urls(t, local, nsmgrURL), "the endpoints of this node")

	// The endpoint comes back on another socket; a failure leaves the one before.
	closed.closed = true
	_, err = local.Register(ctx, &nse{Name: "here", Url: "unix:///other.sock"})
	require.Error(t, err)
	_, err = local.Register(ctx, &nse{Name: "from-before", Url: "unix:///other.sock"})
	require.Error(t, err)
	require.Equal(t, map[string]string{"here": "unix:///nse.sock"}, urls(t, local, nsmgrURL))
	closed.closed = false
	_, err = local.Register(ctx, &nse{Name: "here", Url: "unix:///other.sock"})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"here": "unix:///other.sock"}, urls(t, local, nsmgrURL))

	_, err = local.Unregister(ctx, &nse{Name: "here"})
	require.NoError(t, err)
	require.NotContains(t, urls(t, remote, ""), "here")

	for _, url := range []string{"", "%"} {
		_, err = local.Register(ctx, &nse{Name: "bad", Url: url})
		require.Error(t, err)
	}
}

func TestWatchersHearOfDeletions(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	local := next.NewNetworkServiceEndpointRegistryServer(
		localbypass.NewNetworkServiceEndpointRegistryServer(nsmgrURL), memory.NewNetworkServiceEndpointRegistryServer())
	_, err := local.Register(ctx, &nse{Name: "here", Url: "unix:///nse.sock"})
	require.NoError(t, err)
	stream, err := adapters.NetworkServiceEndpointServerToClient(local).Find(ctx,
		&registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: new(nse), Watch: true})
	require.NoError(t, err)
	response, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "unix:///nse.sock", response.GetNetworkServiceEndpoint().GetUrl())
	_, err = local.Unregister(ctx, &nse{Name: "here"})
	require.NoError(t, err)
	response, err = stream.Recv()
	require.NoError(t, err)
	require.True(t, response.GetDeleted())
}
