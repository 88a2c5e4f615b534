// SPDX-License-Identifier: Apache-2.0

// Package begin stands at the begin of a registry chain. It lets one call at a
// time through for each name, in the order of their arrival, and gives the
// elements after it a way to start a call of their own from here: a refresh, an
// expiry, a new registration after the registry was lost.
package begin

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// EventFactory starts calls for the resource whose chain an element stands in,
// with what was last registered. They wait for their turn. The channel gives the
// error of the call, if there was one, and is closed when the call has ended; a
// resource that is not registered any more is left alone.
type EventFactory interface {
	Register(opts ...Option) <-chan error
	Unregister(opts ...Option) <-chan error
}

// Option changes a call started with an EventFactory.
type Option func(*option)

type option struct {
	cancel context.Context
	extend context.Context
}

// CancelContext skips the call if cancelCtx is done when its turn comes.
func CancelContext(cancelCtx context.Context) Option {
	return func(o *option) { o.cancel = cancelCtx }
}

// ExtendContext adds the values of this context to those of the call.
func ExtendContext(extendCountext context.Context) Option {
	return func(o *option) { o.extend = extendCountext }
}

type factoryKey struct{}

// FromContext returns the factory of the resource that the call with this
// context is about. It panics if the chain does not begin with a begin element,
// for that is a mistake in the program.
func FromContext(ctx context.Context) EventFactory {
	if factory, ok := ctx.Value(factoryKey{}).(EventFactory); ok {
		return factory
	}
	panic("registry begin: the chain has no begin element before this one")
}

// inside says whether some chain has begun already: then the call has its turn,
// and events start there.
func inside(ctx context.Context) bool {
	return ctx.Value(factoryKey{}) != nil
}

// NewNetworkServiceRegistryClient returns the element for clients of network services.
func NewNetworkServiceRegistryClient() registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSRecv]{resources: newTable[either.NS]()}
}

// NewNetworkServiceRegistryServer returns the element for servers of network services.
func NewNetworkServiceRegistryServer() registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSSend]{resources: newTable[either.NS]()}
}

// NewNetworkServiceEndpointRegistryClient returns the element for clients of endpoints.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{resources: newTable[either.NSE]()}
}

// NewNetworkServiceEndpointRegistryServer returns the element for servers of endpoints.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSESend]{resources: newTable[either.NSE]()}
}

type client[T either.Resource[T], Q, F any] struct {
	either.PassClient[T, Q, F]
	resources *table[T]
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	next := either.NextClient[T, Q, F](ctx)
	if inside(ctx) {
		return next.Register(ctx, in, opts...)
	}
	return c.resources.register(ctx, in, c.calls(next, opts))
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	next := either.NextClient[T, Q, F](ctx)
	if inside(ctx) {
		return next.Unregister(ctx, in, opts...)
	}
	return c.resources.unregister(ctx, in, c.calls(next, opts))
}

func (c *client[T, Q, F]) calls(next either.Client[T, Q, F], opts []grpc.CallOption) calls[T] {
	return calls[T]{
		register: func(ctx context.Context, in T) (T, error) {
			return next.Register(ctx, in, opts...)
		},
		unregister: func(ctx context.Context, in T) (*emptypb.Empty, error) {
			return next.Unregister(ctx, in, opts...)
		},
	}
}

type server[T either.Resource[T], Q any, F either.Stream] struct {
	either.PassServer[T, Q, F]
	resources *table[T]
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	next := either.NextServer[T, Q, F](ctx)
	if inside(ctx) {
		return next.Register(ctx, in)
	}
	return s.resources.register(ctx, in, calls[T]{next.Register, next.Unregister})
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	next := either.NextServer[T, Q, F](ctx)
	if inside(ctx) {
		return next.Unregister(ctx, in)
	}
	return s.resources.unregister(ctx, in, calls[T]{next.Register, next.Unregister})
}
