// SPDX-License-Identifier: Apache-2.0

// Package registry puts the two registries of NSM, of network services and of
// endpoints, behind one gRPC server.
package registry

import (
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
)

// Registry is both registries of NSM.
type Registry interface {
	NetworkServiceRegistryServer() registry.NetworkServiceRegistryServer
	NetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer
	// Register adds both, and their health services, to s.
	Register(s *grpc.Server)
}

type pair struct {
	ns  registry.NetworkServiceRegistryServer
	nse registry.NetworkServiceEndpointRegistryServer
}

// NewServer returns the Registry of these two chains.
func NewServer(nsChain registry.NetworkServiceRegistryServer, nseChain registry.NetworkServiceEndpointRegistryServer) Registry {
	return &pair{ns: nsChain, nse: nseChain}
}

func (p *pair) NetworkServiceRegistryServer() registry.NetworkServiceRegistryServer {
	return p.ns
}

func (p *pair) NetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return p.nse
}

func (p *pair) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, p.ns, p.nse)
	registry.RegisterNetworkServiceRegistryServer(s, p.ns)
	registry.RegisterNetworkServiceEndpointRegistryServer(s, p.nse)
}
