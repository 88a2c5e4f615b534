// SPDX-License-Identifier: Apache-2.0

// Package clienturl says which URL the dial element is to call.
package clienturl

import (
	"context"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

// NewNetworkServiceRegistryClient returns a client that puts u into the context.
func NewNetworkServiceRegistryClient(u *url.URL) registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSRecv]{u}
}

// NewNetworkServiceRegistryServer returns a server that puts u into the context.
func NewNetworkServiceRegistryServer(u *url.URL) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSSend]{u}
}

// NewNetworkServiceEndpointRegistryClient returns a client that puts u into the context.
func NewNetworkServiceEndpointRegistryClient(u *url.URL) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{u}
}

// NewNetworkServiceEndpointRegistryServer returns a server that puts u into the context.
func NewNetworkServiceEndpointRegistryServer(u *url.URL) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSESend]{u}
}

type client[T, Q, F any] struct{ url *url.URL }

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	ctx = clienturlctx.WithClientURL(ctx, c.url)
	return either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
}

func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	ctx = clienturlctx.WithClientURL(ctx, c.url)
	return either.NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	ctx = clienturlctx.WithClientURL(ctx, c.url)
	return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
}

type server[T, Q any, F either.Stream] struct{ url *url.URL }

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	ctx = clienturlctx.WithClientURL(ctx, s.url)
	return either.NextServer[T, Q, F](ctx).Register(ctx, in)
}

func (s *server[T, Q, F]) Find(in Q, stream F) error {
	ctx := clienturlctx.WithClientURL(stream.Context(), s.url)
	return either.NextServer[T, Q, F](ctx).Find(in, either.StreamWithContext(ctx, stream))
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	ctx = clienturlctx.WithClientURL(ctx, s.url)
	return either.NextServer[T, Q, F](ctx).Unregister(ctx, in)
}
