// SPDX-License-Identifier: Apache-2.0

package authorize

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

// NewNetworkServiceRegistryClient returns a client that checks the answer of
// the registry.
func NewNetworkServiceRegistryClient(opts ...Option) registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSRecv]{options: apply(opts)}
}

// NewNetworkServiceRegistryServer returns a server that checks the request.
func NewNetworkServiceRegistryServer(opts ...Option) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSSend]{options: apply(opts)}
}

// NewNetworkServiceEndpointRegistryClient returns a client that checks the
// answer of the registry.
func NewNetworkServiceEndpointRegistryClient(opts ...Option) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{options: apply(opts)}
}

// NewNetworkServiceEndpointRegistryServer returns a server that checks the request.
func NewNetworkServiceEndpointRegistryServer(opts ...Option) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSESend]{options: apply(opts)}
}

type server[T either.Resource[T], Q any, F either.Stream] struct {
	either.PassServer[T, Q, F]
	options
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	next := either.NextServer[T, Q, F](ctx)
	if len(s.policies) == 0 {
		return next.Register(ctx, in)
	}
	if err := s.check(ctx, in.GetName(), travelled(grpcmetadata.PathFromContext(ctx))); err != nil {
		var none T
		return none, err
	}
	registered, err := next.Register(ctx, in)
	if err == nil {
		s.pathIDs.Store(registered.GetName(), registered.GetPathIds())
	}
	return registered, err
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	next := either.NextServer[T, Q, F](ctx)
	if len(s.policies) == 0 {
		return next.Unregister(ctx, in)
	}
	if err := s.check(ctx, in.GetName(), travelled(grpcmetadata.PathFromContext(ctx))); err != nil {
		return nil, err
	}
	out, err := next.Unregister(ctx, in)
	if err == nil {
		s.pathIDs.Delete(in.GetName())
	}
	return out, err
}

type client[T either.Resource[T], Q, F any] struct {
	either.PassClient[T, Q, F]
	options
}

// Register unregisters again what is not allowed, if it was not registered before.
func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	next := either.NextClient[T, Q, F](ctx)
	if len(c.policies) == 0 {
		return next.Register(ctx, in, opts...)
	}
	undoContext := postpone.ContextWithValues(ctx)
	path := grpcmetadata.PathFromContext(ctx)
	ctx = grpcmetadata.PathWithContext(ctx, path)
	var p peer.Peer
	registered, err := next.Register(ctx, in, withPeer(opts, &p)...)
	if err != nil {
		return registered, err
	}
	if err := c.check(peer.NewContext(ctx, &p), registered.GetName(), path); err != nil {
		if _, known := c.pathIDs.Load(registered.GetName()); !known {
			undoCtx, cancel := undoContext()
			defer cancel()
			_, undoErr := next.Unregister(grpcmetadata.PathWithContext(undoCtx, path), registered, opts...)
			err = errors.Join(err, undoErr)
		}
		var none T
		return none, err
	}
	c.pathIDs.Store(registered.GetName(), registered.GetPathIds())
	return registered, nil
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	next := either.NextClient[T, Q, F](ctx)
	if len(c.policies) == 0 {
		return next.Unregister(ctx, in, opts...)
	}
	path := grpcmetadata.PathFromContext(ctx)
	ctx = grpcmetadata.PathWithContext(ctx, path)
	var p peer.Peer
	out, err := next.Unregister(ctx, in, withPeer(opts, &p)...)
	if err != nil {
		return nil, err
	}
	if err := c.check(peer.NewContext(ctx, &p), in.GetName(), path); err != nil {
		return nil, err
	}
	c.pathIDs.Delete(in.GetName())
	return out, nil
}

// withPeer appends to a copy, for opts may belong to other calls too.
func withPeer(opts []grpc.CallOption, p *peer.Peer) []grpc.CallOption {
	return append(append([]grpc.CallOption(nil), opts...), grpc.Peer(p))
}
