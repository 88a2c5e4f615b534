// SPDX-License-Identifier: Apache-2.0

// Package streamcontext gives the stream of a Find another context. A nil stream
// becomes one that has a context only.
package streamcontext

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// with is the method that hides that of the stream beside which it is embedded.
type with struct{ ctx context.Context }

func (w with) Context() context.Context { return w.ctx }

// NetworkServiceRegistryFindClient returns client with ctx as its context.
func NetworkServiceRegistryFindClient(ctx context.Context, client registry.NetworkServiceRegistry_FindClient) registry.NetworkServiceRegistry_FindClient {
	type stream struct {
		registry.NetworkServiceRegistry_FindClient
	}
	return struct {
		stream
		with
	}{stream{client}, with{ctx}}
}

// NetworkServiceRegistryFindServer returns server with ctx as its context.
func NetworkServiceRegistryFindServer(ctx context.Context, server registry.NetworkServiceRegistry_FindServer) registry.NetworkServiceRegistry_FindServer {
	type stream struct {
		registry.NetworkServiceRegistry_FindServer
	}
	return struct {
		stream
		with
	}{stream{server}, with{ctx}}
}

// NetworkServiceEndpointRegistryFindClient returns client with ctx as its context.
func NetworkServiceEndpointRegistryFindClient(ctx context.Context, client registry.NetworkServiceEndpointRegistry_FindClient) registry.NetworkServiceEndpointRegistry_FindClient {
	type stream struct {
		registry.NetworkServiceEndpointRegistry_FindClient
	}
	return struct {
		stream
		with
	}{stream{client}, with{ctx}}
}

// NetworkServiceEndpointRegistryFindServer returns server with ctx as its context.
func NetworkServiceEndpointRegistryFindServer(ctx context.Context, server registry.NetworkServiceEndpointRegistry_FindServer) registry.NetworkServiceEndpointRegistry_FindServer {
	type stream struct {
		registry.NetworkServiceEndpointRegistry_FindServer
	}
	return struct {
		stream
		with
	}{stream{server}, with{ctx}}
}
