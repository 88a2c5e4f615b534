// SPDX-License-Identifier: Apache-2.0

package recvfd

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// receiveTimeout is how long one endpoint whose socket does not come holds up
// the others of a Find.
const receiveTimeout = 5 * time.Second

type client struct {
	either.PassNSEClient
	sockets fdpass.Table // by endpoint name
}

// NewNetworkServiceEndpointRegistryClient returns a client that receives the
// sockets of the endpoints that a Find returns. One is held until the endpoint
// is reported deleted, comes with another one, or its socket has no name in the
// file system any more.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client)
}

func (c *client) Find(ctx context.Context, query *registry.NetworkServiceEndpointQuery, opts ...grpc.CallOption) (registry.NetworkServiceEndpointRegistry_FindClient, error) {
	credentials := grpcfd.PerRPCCredentials(grpcfd.PerRPCCredentialsFromCallOptions(opts...))
	opts = append(append([]grpc.CallOption(nil), opts...), grpc.PerRPCCredentials(credentials))
	from, ok := grpcfd.FromPerRPCCredentials(credentials)

	stream, err := next.NetworkServiceEndpointRegistryClient(ctx).Find(ctx, query, opts...)
	if err != nil || !ok {
		return stream, err
	}
	return either.RecvWith(stream, func() (*registry.NetworkServiceEndpointResponse, error) {
		for {
			response, err := stream.Recv()
			if err != nil {
				return response, err
			}
			if response, err = c.receive(ctx, response, from); err == nil {
				return response, nil
			}
			log.FromContext(ctx).Warnf("find endpoints: leave one out: %v", err)
		}
	}), nil
}

func (c *client) receive(ctx context.Context, response *registry.NetworkServiceEndpointResponse, from grpcfd.FDRecver) (*registry.NetworkServiceEndpointResponse, error) {
	nse := response.GetNetworkServiceEndpoint()
	if response.GetDeleted() {
		c.sockets.Close(nse.GetName())
		return response, nil
	}
	if !fdpass.IsInodeURL(nse.GetUrl()) {
		return response, nil
	}
	ctx, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()

	c.sockets.CloseUnlinked()
	files, known := c.sockets.Of(nse.GetName())
	path, err := files.Receive(ctx, nse.GetUrl(), from)
	if err != nil {
		if !known {
			c.sockets.Close(nse.GetName())
		}
		return nil, err
	}
	files.KeepOnly(nse.GetUrl())
	response = response.Clone()
	response.NetworkServiceEndpoint.Url = unixURL(path)
	return response, nil
}
