// SPDX-License-Identifier: Apache-2.0

// Package next chains registry elements. An element calls the one after it by
// what the functions of this package return for its context.
package next

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// Wrappers put something around an element of a chain; chainers make a chain.
type (
	NetworkServiceRegistryClientWrapper         func(client registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryClient
	NetworkServiceRegistryServerWrapper         func(server registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer
	NetworkServiceEndpointRegistryClientWrapper func(client registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient
	NetworkServiceEndpointRegistryServerWrapper func(server registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer

	NetworkServiceRegistryClientChainer         func(clients ...registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryClient
	NetworkServiceRegistryServerChainer         func(servers ...registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer
	NetworkServiceEndpointRegistryClientChainer func(clients ...registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient
	NetworkServiceEndpointRegistryServerChainer func(servers ...registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer
)

// NetworkServiceRegistryClient returns the element after the one that ctx was
// given to. It is never nil: at the end of a chain calls return their input.
func NetworkServiceRegistryClient(ctx context.Context) registry.NetworkServiceRegistryClient {
	return either.NextClient[either.NS, either.NSQuery, either.NSRecv](ctx)
}

// NetworkServiceRegistryServer is the same for servers.
func NetworkServiceRegistryServer(ctx context.Context) registry.NetworkServiceRegistryServer {
	return either.NextServer[either.NS, either.NSQuery, either.NSSend](ctx)
}

// NetworkServiceEndpointRegistryClient is the same for endpoints.
func NetworkServiceEndpointRegistryClient(ctx context.Context) registry.NetworkServiceEndpointRegistryClient {
	return either.NextClient[either.NSE, either.NSEQuery, either.NSERecv](ctx)
}

// NetworkServiceEndpointRegistryServer is the same for servers of endpoints.
func NetworkServiceEndpointRegistryServer(ctx context.Context) registry.NetworkServiceEndpointRegistryServer {
	return either.NextServer[either.NSE, either.NSEQuery, either.NSESend](ctx)
}

// NewWrappedNetworkServiceRegistryClient chains clients, each wrapped.
func NewWrappedNetworkServiceRegistryClient(wrapper NetworkServiceRegistryClientWrapper, clients ...registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryClient {
	chain := make(either.ClientChain[either.NS, either.NSQuery, either.NSRecv], len(clients))
	for i, client := range clients {
		chain[i] = wrapper(client)
	}
	return chain
}

// NewNetworkServiceRegistryClient chains clients.
func NewNetworkServiceRegistryClient(clients ...registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryClient {
	return NewWrappedNetworkServiceRegistryClient(asIs, clients...)
}

// NewWrappedNetworkServiceRegistryServer chains servers, each wrapped.
func NewWrappedNetworkServiceRegistryServer(wrapper NetworkServiceRegistryServerWrapper, servers ...registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer {
	chain := make(either.ServerChain[either.NS, either.NSQuery, either.NSSend], len(servers))
	for i, server := range servers {
		chain[i] = wrapper(server)
	}
	return chain
}

// NewNetworkServiceRegistryServer chains servers.
func NewNetworkServiceRegistryServer(servers ...registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryServer {
	return NewWrappedNetworkServiceRegistryServer(asIs, servers...)
}

// NewWrappedNetworkServiceEndpointRegistryClient chains clients, each wrapped.
func NewWrappedNetworkServiceEndpointRegistryClient(wrapper NetworkServiceEndpointRegistryClientWrapper, clients ...registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient {
	chain := make(either.ClientChain[either.NSE, either.NSEQuery, either.NSERecv], len(clients))
	for i, client := range clients {
		chain[i] = wrapper(client)
	}
	return chain
}

// NewNetworkServiceEndpointRegistryClient chains clients.
func NewNetworkServiceEndpointRegistryClient(clients ...registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryClient {
	return NewWrappedNetworkServiceEndpointRegistryClient(asIs, clients...)
}

// NewWrappedNetworkServiceEndpointRegistryServer chains servers, each wrapped.
func NewWrappedNetworkServiceEndpointRegistryServer(wrapper NetworkServiceEndpointRegistryServerWrapper, servers ...registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer {
	chain := make(either.ServerChain[either.NSE, either.NSEQuery, either.NSESend], len(servers))
	for i, server := range servers {
		chain[i] = wrapper(server)
	}
	return chain
}

// NewNetworkServiceEndpointRegistryServer chains servers.
func NewNetworkServiceEndpointRegistryServer(servers ...registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryServer {
	return NewWrappedNetworkServiceEndpointRegistryServer(asIs, servers...)
}

func asIs[E any](element E) E { return element }
