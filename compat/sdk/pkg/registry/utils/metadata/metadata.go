// SPDX-License-Identifier: Apache-2.0

// Package metadata gives the elements after it a store for each registered
// name, which lives from the first Register to the Unregister.
package metadata

import (
	"context"
	"sync"

	"github.com/edwarnicke/genericsync"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type (
	clientKey struct{}
	serverKey struct{}
)

// Map returns the store of the resource that the call with this context is
// about: a client's or a server's. It panics if the chain has no metadata
// element of that side, for that is a mistake in the program.
func Map(parent context.Context, isClient bool) *sync.Map {
	if isClient {
		if m, ok := parent.Value(clientKey{}).(*sync.Map); ok {
			return m
		}
		panic("registry metadata: the chain has no metadata client before this element")
	}
	if m, ok := parent.Value(serverKey{}).(*sync.Map); ok {
		return m
	}
	panic("registry metadata: the chain has no metadata server before this element")
}

// IsClient says whether in is an element of a registry client.
func IsClient(in any) bool {
	switch in.(type) {
	case registry.NetworkServiceRegistryClient, registry.NetworkServiceEndpointRegistryClient:
		return true
	}
	return false
}

// NewNetworkServiceClient returns the element for clients of network services.
func NewNetworkServiceClient() registry.NetworkServiceRegistryClient {
	return new(client[either.NS, either.NSQuery, either.NSRecv])
}

// NewNetworkServiceServer returns the element for servers of network services.
func NewNetworkServiceServer() registry.NetworkServiceRegistryServer {
	return new(server[either.NS, either.NSQuery, either.NSSend])
}

// NewNetworkServiceEndpointClient returns the element for clients of endpoints.
func NewNetworkServiceEndpointClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client[either.NSE, either.NSEQuery, either.NSERecv])
}

// NewNetworkServiceEndpointServer returns the element for servers of endpoints.
func NewNetworkServiceEndpointServer() registry.NetworkServiceEndpointRegistryServer {
	return new(server[either.NSE, either.NSEQuery, either.NSESend])
}

type stores = genericsync.Map[string, *sync.Map]

type client[T either.Resource[T], Q, F any] struct {
	either.PassClient[T, Q, F]
	stores stores
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return register(&c.stores, in, func(store *sync.Map) (T, error) {
		ctx := context.WithValue(ctx, clientKey{}, store)
		return either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
	})
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	ctx = context.WithValue(ctx, clientKey{}, last(&c.stores, in.GetName()))
	return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
}

type server[T either.Resource[T], Q any, F either.Stream] struct {
	either.PassServer[T, Q, F]
	stores stores
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return register(&s.stores, in, func(store *sync.Map) (T, error) {
		ctx := context.WithValue(ctx, serverKey{}, store)
		return either.NextServer[T, Q, F](ctx).Register(ctx, in)
	})
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	ctx = context.WithValue(ctx, serverKey{}, last(&s.stores, in.GetName()))
	return either.NextServer[T, Q, F](ctx).Unregister(ctx, in)
}

// register calls next with the store of in, and keeps it if that succeeds.
func register[T either.Resource[T]](stores *stores, in T, next func(*sync.Map) (T, error)) (T, error) {
	store, known := stores.Load(in.GetName())
	if !known {
		store = new(sync.Map)
	}
	out, err := next(store)
	if err == nil {
		stores.Store(either.NameOf(in, out), store)
	}
	return out, err
}

func last(stores *stores, name string) *sync.Map {
	if store, ok := stores.LoadAndDelete(name); ok {
		return store
	}
	return new(sync.Map)
}
