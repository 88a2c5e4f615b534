// SPDX-License-Identifier: Apache-2.0

package grpcmetadata

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// NewNetworkServiceRegistryClient returns a client that sends the path in its
// context and takes over the one that comes back.
func NewNetworkServiceRegistryClient() registry.NetworkServiceRegistryClient {
	return new(client[either.NS, either.NSQuery, either.NSRecv])
}

// NewNetworkServiceRegistryServer returns a server that puts the path of the
// call into the context and sends it back.
func NewNetworkServiceRegistryServer() registry.NetworkServiceRegistryServer {
	return new(server[either.NS, either.NSQuery, either.NSSend])
}

// NewNetworkServiceEndpointRegistryClient returns a client that sends the path
// in its context and takes over the one that comes back.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client[either.NSE, either.NSEQuery, either.NSERecv])
}

// NewNetworkServiceEndpointRegistryServer returns a server that puts the path
// of the call into the context and sends it back.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return new(server[either.NSE, either.NSEQuery, either.NSESend])
}

type client[T, Q, F any] struct{ either.PassClient[T, Q, F] }

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return clientCall(ctx, opts, func(ctx context.Context, opts []grpc.CallOption) (T, error) {
		return either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
	})
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return clientCall(ctx, opts, func(ctx context.Context, opts []grpc.CallOption) (*emptypb.Empty, error) {
		return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
	})
}

func clientCall[R any](ctx context.Context, opts []grpc.CallOption, next func(context.Context, []grpc.CallOption) (R, error)) (R, error) {
	path := PathFromContext(ctx)
	text, err := encode(path)
	if err != nil {
		var none R
		return none, err
	}
	var header metadata.MD
	opts = append(append([]grpc.CallOption(nil), opts...), grpc.Header(&header))
	out, err := next(metadata.AppendToOutgoingContext(ctx, metadataKey, text), opts)
	if err != nil {
		return out, err
	}
	// Servers that are no NSM registries send none back.
	if back, err := decode(header); err == nil {
		*path = *back
	}
	return out, nil
}

type server[T, Q any, F either.Stream] struct{ either.PassServer[T, Q, F] }

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return serverCall(ctx, func(ctx context.Context) (T, error) {
		return either.NextServer[T, Q, F](ctx).Register(ctx, in)
	})
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return serverCall(ctx, func(ctx context.Context) (*emptypb.Empty, error) {
		return either.NextServer[T, Q, F](ctx).Unregister(ctx, in)
	})
}

func serverCall[R any](ctx context.Context, next func(context.Context) (R, error)) (R, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	path, err := decode(md)
	if err != nil {
		log.FromContext(ctx).Warnf("registry: %v", err)
		return next(ctx)
	}
	out, err := next(PathWithContext(ctx, path))
	if err != nil {
		return out, err
	}
	text, err := encode(path)
	if err == nil {
		err = grpc.SendHeader(ctx, metadata.Pairs(metadataKey, text))
	}
	if err != nil {
		return out, fmt.Errorf("send path back: %w", err)
	}
	return out, nil
}
