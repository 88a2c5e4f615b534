// SPDX-License-Identifier: Apache-2.0

// Package sendfd sends the sockets of endpoints beside the gRPC call. An
// endpoint's URL unix://<path> becomes inode://<dev>/<ino>; the other side
// receives the socket with package recvfd.
package sendfd

import (
	"context"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// NewNetworkServiceEndpointRegistryClient returns a client that sends the
// socket of the endpoint that it registers.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client)
}

// NewNetworkServiceEndpointRegistryServer returns a server that sends the
// sockets of the endpoints that a Find returns.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return new(server)
}

type client struct{ either.PassNSEClient }

func (c *client) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	sent, opts, err := send(nse, opts)
	if err != nil {
		return nil, err
	}
	registered, err := next.NetworkServiceEndpointRegistryClient(ctx).Register(ctx, sent, opts...)
	if err != nil {
		return nil, err
	}
	if registered.GetUrl() == sent.GetUrl() {
		registered = registered.Clone()
		registered.Url = nse.GetUrl()
	}
	return registered, nil
}

func (c *client) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	sent, sendOpts, err := send(nse, opts)
	if err != nil {
		// The socket may be gone already; the name is enough to unregister.
		log.FromContext(ctx).Debugf("unregister endpoint %s: %v", nse.GetName(), err)
		sent, sendOpts = nse, opts
	}
	return next.NetworkServiceEndpointRegistryClient(ctx).Unregister(ctx, sent, sendOpts...)
}

// send returns nse as it goes over the wire.
func send(nse *registry.NetworkServiceEndpoint, opts []grpc.CallOption) (*registry.NetworkServiceEndpoint, []grpc.CallOption, error) {
	path, ok := socketPath(nse)
	if !ok {
		return nse, opts, nil
	}
	credentials := grpcfd.PerRPCCredentials(grpcfd.PerRPCCredentialsFromCallOptions(opts...))
	opts = append(append([]grpc.CallOption(nil), opts...), grpc.PerRPCCredentials(credentials))
	to, ok := grpcfd.FromPerRPCCredentials(credentials)
	if !ok {
		return nse, opts, nil
	}
	inodeURL, err := fdpass.Send(to, path)
	if err != nil {
		return nil, nil, err
	}
	nse = nse.Clone()
	nse.Url = inodeURL
	return nse, opts, nil
}

type server struct{ either.PassNSEServer }

func (s *server) Find(query *registry.NetworkServiceEndpointQuery, stream registry.NetworkServiceEndpointRegistry_FindServer) error {
	if to, ok := grpcfd.FromContext(stream.Context()); ok {
		stream = &findStream{stream, to}
	}
	return next.NetworkServiceEndpointRegistryServer(stream.Context()).Find(query, stream)
}

type findStream struct {
	registry.NetworkServiceEndpointRegistry_FindServer
	to grpcfd.FDSender
}

// Send leaves out an endpoint whose socket cannot be opened, for it is gone.
func (f *findStream) Send(response *registry.NetworkServiceEndpointResponse) error {
	if path, ok := socketPath(response.GetNetworkServiceEndpoint()); ok && !response.GetDeleted() {
		inodeURL, err := fdpass.Send(f.to, path)
		if err != nil {
			log.FromContext(f.Context()).Warnf("find endpoints: leave out %s: %v", response.GetNetworkServiceEndpoint().GetName(), err)
			return nil
		}
		response = response.Clone()
		response.NetworkServiceEndpoint.Url = inodeURL
	}
	return f.NetworkServiceEndpointRegistry_FindServer.Send(response)
}

// socketPath returns the path of a unix socket in the file system; abstract
// sockets have none.
func socketPath(nse *registry.NetworkServiceEndpoint) (string, bool) {
	u, err := url.Parse(nse.GetUrl())
	if err != nil || u.Scheme != "unix" || u.Path == "" {
		return "", false
	}
	return u.Path, true
}
