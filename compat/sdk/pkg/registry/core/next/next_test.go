// SPDX-License-Identifier: Apache-2.0

package next_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/null"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/core/streamchannel"
)

type nse = registry.NetworkServiceEndpoint

// visit appends its name to the url of what passes.
type visit struct{ name string }

func (v visit) Register(ctx context.Context, in *nse) (*nse, error) {
	in.Url += v.name
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, in)
}

func (v visit) Find(query *registry.NetworkServiceEndpointQuery, stream registry.NetworkServiceEndpointRegistry_FindServer) error {
	if err := stream.Send(&registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: &nse{Name: v.name}}); err != nil {
		return err
	}
	return next.NetworkServiceEndpointRegistryServer(stream.Context()).Find(query, stream)
}

func (v visit) Unregister(ctx context.Context, in *nse) (*emptypb.Empty, error) {
	in.Url += v.name
	return next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, in)
}

// visitClient is the same for clients.
type visitClient struct{ name string }

func (v visitClient) Register(ctx context.Context, in *nse, opts ...grpc.CallOption) (*nse, error) {
	in.Url += v.name
	return next.NetworkServiceEndpointRegistryClient(ctx).Register(ctx, in, opts...)
}

func (v visitClient) Find(ctx context.Context, query *registry.NetworkServiceEndpointQuery, opts ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	query.NetworkServiceEndpoint.Url += v.name
	return next.NetworkServiceEndpointRegistryClient(ctx).Find(ctx, query, opts...)
}

func (v visitClient) Unregister(ctx context.Context, in *nse, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	in.Url += v.name
	return next.NetworkServiceEndpointRegistryClient(ctx).Unregister(ctx, in, opts...)
}

var servers = map[string]registry.NetworkServiceEndpointRegistryServer{
	"":     next.NewNetworkServiceEndpointRegistryServer(),
	"a":    next.NewNetworkServiceEndpointRegistryServer(visit{"a"}),
	"abc":  chain.NewNetworkServiceEndpointRegistryServer(visit{"a"}, visit{"b"}, visit{"c"}),
	"abcd": chain.NewNetworkServiceEndpointRegistryServer(visit{"a"}, next.NewNetworkServiceEndpointRegistryServer(visit{"b"}, visit{"c"}), null.NewNetworkServiceEndpointRegistryServer(), visit{"d"}),
	"xyz": next.NewNetworkServiceEndpointRegistryServer(visit{"x"},
		adapters.NetworkServiceEndpointClientToServer(chain.NewNetworkServiceEndpointRegistryClient(visitClient{"y"})), visit{"z"}),
}

func TestServerChains(t *testing.T) {
	defer goleak.VerifyNone(t)
	for want, server := range servers {
		in := new(nse)
		out, err := server.Register(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, want, out.GetUrl())

		in = new(nse)
		_, err = server.Unregister(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, want, in.GetUrl())
	}
}

func TestFindGoesThroughChainsAndAdapters(t *testing.T) {
	defer goleak.VerifyNone(t)
	for want, server := range servers {
		if want == "xyz" {
			want = "xz" // y is a client that only changes the query
		}
		client := adapters.NetworkServiceEndpointServerToClient(server)
		stream, err := client.Find(context.Background(), &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: new(nse)})
		require.NoError(t, err)
		var got string
		for {
			response, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			got += response.GetNetworkServiceEndpoint().GetName()
		}
		require.Equal(t, want, got)
	}
}

func TestClientChains(t *testing.T) {
	for want, client := range map[string]registry.NetworkServiceEndpointRegistryClient{
		"":    next.NewNetworkServiceEndpointRegistryClient(),
		"abc": chain.NewNetworkServiceEndpointRegistryClient(visitClient{"a"}, next.NewNetworkServiceEndpointRegistryClient(visitClient{"b"}), visitClient{"c"}),
		"xyz": chain.NewNetworkServiceEndpointRegistryClient(visitClient{"x"}, adapters.NetworkServiceEndpointServerToClient(visit{"y"}), visitClient{"z"}),
	} {
		out, err := client.Register(context.Background(), new(nse))
		require.NoError(t, err)
		require.Equal(t, want, out.GetUrl())
		in := new(nse)
		_, err = client.Unregister(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, want, in.GetUrl())
	}
}

func TestEndOfAChain(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	client := next.NetworkServiceRegistryClient(ctx)
	stream, err := client.Find(ctx, &registry.NetworkServiceQuery{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)

	stream, err = client.Find(ctx, &registry.NetworkServiceQuery{Watch: true})
	require.NoError(t, err)
	cancel()
	_, err = stream.Recv()
	require.ErrorIs(t, err, context.Canceled)
}

type failing struct {
	registry.NetworkServiceRegistryServer
}

func (failing) Find(_ *registry.NetworkServiceQuery, stream registry.NetworkServiceRegistry_FindServer) error {
	_ = stream.Send(&registry.NetworkServiceResponse{NetworkService: &registry.NetworkService{Name: "ns"}})
	return errors.New("broken")
}

func TestAdapterTellsTheErrorOfTheServer(t *testing.T) {
	defer goleak.VerifyNone(t)
	stream, err := adapters.NetworkServiceServerToClient(failing{}).Find(context.Background(), new(registry.NetworkServiceQuery))
	require.NoError(t, err)
	response, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "ns", response.GetNetworkService().GetName())
	_, err = stream.Recv()
	require.EqualError(t, err, "broken")
}

func TestStreamOverAChannel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan *registry.NetworkServiceResponse, 1)
	server := streamchannel.NewNetworkServiceFindServer(ctx, ch)
	client := streamchannel.NewNetworkServiceFindClient(ctx, ch)
	require.NoError(t, server.Send(new(registry.NetworkServiceResponse)))
	cancel()
	_, err := client.Recv()
	require.NoError(t, err, "what was sent before the end arrives")
	_, err = client.Recv()
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, server.Send(new(registry.NetworkServiceResponse)), "there is room")
	require.ErrorIs(t, server.Send(new(registry.NetworkServiceResponse)), context.Canceled)
}
