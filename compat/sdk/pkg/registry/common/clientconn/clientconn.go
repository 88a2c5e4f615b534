// SPDX-License-Identifier: Apache-2.0

// Package clientconn keeps a place in a call's context for the gRPC connection
// that the call is to be made over: dial fills it, connect uses it.
package clientconn

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type key struct{}

type place struct {
	mu sync.Mutex
	cc grpc.ClientConnInterface
}

func placeOf(ctx context.Context) *place {
	if p, ok := ctx.Value(key{}).(*place); ok {
		return p
	}
	panic("registry clientconn: the chain has no clientconn element before this one")
}

// Store puts cc in. Like the other functions here it panics if the chain has
// no clientconn element, for that is a mistake in the program.
func Store(ctx context.Context, cc grpc.ClientConnInterface) {
	p := placeOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cc = cc
}

// Load returns the connection, if there is one.
func Load(ctx context.Context) (grpc.ClientConnInterface, bool) {
	p := placeOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cc, p.cc != nil
}

// LoadOrStore returns the connection if there is one, and true; else it puts cc in.
func LoadOrStore(ctx context.Context, cc grpc.ClientConnInterface) (grpc.ClientConnInterface, bool) {
	p := placeOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cc != nil {
		return p.cc, true
	}
	p.cc = cc
	return cc, false
}

// LoadAndDelete takes the connection out.
func LoadAndDelete(ctx context.Context) (grpc.ClientConnInterface, bool) {
	p := placeOf(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	cc := p.cc
	p.cc = nil
	return cc, cc != nil
}

// Delete takes the connection out.
func Delete(ctx context.Context) {
	LoadAndDelete(ctx)
}

// NewNetworkServiceRegistryClient returns the element for network services.
func NewNetworkServiceRegistryClient() registry.NetworkServiceRegistryClient {
	return new(client[either.NS, either.NSQuery, either.NSRecv])
}

// NewNetworkServiceEndpointRegistryClient returns the element for endpoints.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client[either.NSE, either.NSEQuery, either.NSERecv])
}

type client[T, Q, F any] struct{}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	ctx = context.WithValue(ctx, key{}, new(place))
	return either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
}

func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	ctx = context.WithValue(ctx, key{}, new(place))
	return either.NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	ctx = context.WithValue(ctx, key{}, new(place))
	return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
}
