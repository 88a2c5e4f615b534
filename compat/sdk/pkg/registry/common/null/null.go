// SPDX-License-Identifier: Apache-2.0

// Package null has elements that only call the next one.
package null

import (
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// NewNetworkServiceRegistryClient returns a client that does nothing.
func NewNetworkServiceRegistryClient() registry.NetworkServiceRegistryClient {
	return new(either.PassNSClient)
}

// NewNetworkServiceRegistryServer returns a server that does nothing.
func NewNetworkServiceRegistryServer() registry.NetworkServiceRegistryServer {
	return new(either.PassNSServer)
}

// NewNetworkServiceEndpointRegistryClient returns a client that does nothing.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(either.PassNSEClient)
}

// NewNetworkServiceEndpointRegistryServer returns a server that does nothing.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return new(either.PassNSEServer)
}
