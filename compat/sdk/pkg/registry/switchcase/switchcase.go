// SPDX-License-Identifier: Apache-2.0

// Package switchcase chooses the element that serves a call by looking at the
// resource. The first case that fits is taken; if none does, the next element.
package switchcase

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// NSClientCase is a case of NewNetworkServiceRegistryClient. Of a Find, the
// condition is shown what the query asks for.
type NSClientCase struct {
	Condition func(context.Context, *registry.NetworkService) bool
	Action    registry.NetworkServiceRegistryClient
}

// NSServerCase is a case of NewNetworkServiceRegistryServer.
type NSServerCase struct {
	Condition func(context.Context, *registry.NetworkService) bool
	Action    registry.NetworkServiceRegistryServer
}

// NSEClientCase is a case of NewNetworkServiceEndpointRegistryClient.
type NSEClientCase struct {
	Condition func(context.Context, *registry.NetworkServiceEndpoint) bool
	Action    registry.NetworkServiceEndpointRegistryClient
}

// NSEServerCase is a case of NewNetworkServiceEndpointRegistryServer.
type NSEServerCase struct {
	Condition func(context.Context, *registry.NetworkServiceEndpoint) bool
	Action    registry.NetworkServiceEndpointRegistryServer
}

// NewNetworkServiceRegistryClient returns a client that chooses among cases.
func NewNetworkServiceRegistryClient(cases ...NSClientCase) registry.NetworkServiceRegistryClient {
	type element = either.Client[either.NS, either.NSQuery, either.NSRecv]
	return &client[either.NS, either.NSQuery, either.NSRecv]{
		asked: either.NSQuery.GetNetworkService,
		choose: func(ctx context.Context, ns either.NS) element {
			for _, c := range cases {
				if c.Condition(ctx, ns) {
					return c.Action
				}
			}
			return new(either.PassNSClient)
		},
	}
}

// NewNetworkServiceRegistryServer returns a server that chooses among cases.
func NewNetworkServiceRegistryServer(cases ...NSServerCase) registry.NetworkServiceRegistryServer {
	type element = either.Server[either.NS, either.NSQuery, either.NSSend]
	return &server[either.NS, either.NSQuery, either.NSSend]{
		asked: either.NSQuery.GetNetworkService,
		choose: func(ctx context.Context, ns either.NS) element {
			for _, c := range cases {
				if c.Condition(ctx, ns) {
					return c.Action
				}
			}
			return new(either.PassNSServer)
		},
	}
}

// NewNetworkServiceEndpointRegistryClient returns a client that chooses among cases.
func NewNetworkServiceEndpointRegistryClient(cases ...NSEClientCase) registry.NetworkServiceEndpointRegistryClient {
	type element = either.Client[either.NSE, either.NSEQuery, either.NSERecv]
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{
		asked: either.NSEQuery.GetNetworkServiceEndpoint,
		choose: func(ctx context.Context, nse either.NSE) element {
			for _, c := range cases {
				if c.Condition(ctx, nse) {
					return c.Action
				}
			}
			return new(either.PassNSEClient)
		},
	}
}

// NewNetworkServiceEndpointRegistryServer returns a server that chooses among cases.
func NewNetworkServiceEndpointRegistryServer(cases ...NSEServerCase) registry.NetworkServiceEndpointRegistryServer {
	type element = either.Server[either.NSE, either.NSEQuery, either.NSESend]
	return &server[either.NSE, either.NSEQuery, either.NSESend]{
		asked: either.NSEQuery.GetNetworkServiceEndpoint,
		choose: func(ctx context.Context, nse either.NSE) element {
			for _, c := range cases {
				if c.Condition(ctx, nse) {
					return c.Action
				}
			}
			return new(either.PassNSEServer)
		},
	}
}

type client[T, Q, F any] struct {
	asked  func(Q) T
	choose func(context.Context, T) either.Client[T, Q, F]
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return c.choose(ctx, in).Register(ctx, in, opts...)
}

func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	return c.choose(ctx, c.asked(in)).Find(ctx, in, opts...)
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return c.choose(ctx, in).Unregister(ctx, in, opts...)
}

type server[T, Q any, F either.Stream] struct {
	asked  func(Q) T
	choose func(context.Context, T) either.Server[T, Q, F]
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return s.choose(ctx, in).Register(ctx, in)
}

func (s *server[T, Q, F]) Find(in Q, stream F) error {
	return s.choose(stream.Context(), s.asked(in)).Find(in, stream)
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return s.choose(ctx, in).Unregister(ctx, in)
}
