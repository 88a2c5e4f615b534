// SPDX-License-Identifier: Apache-2.0

// Package clientinfo labels an endpoint with where this process runs: nodeName,
// podName and clusterName, from the environment variables NODE_NAME, POD_NAME
// and CLUSTER_NAME. Labels that are set already stay.
package clientinfo

import (
	"context"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clientinfo"
)

type client struct{ either.PassNSEClient }

type server struct{ either.PassNSEServer }

// NewNetworkServiceEndpointRegistryClient returns the element for clients.
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	return new(client)
}

// NewNetworkServiceEndpointRegistryServer returns the element for servers.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return new(server)
}

func (c *client) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	return next.NetworkServiceEndpointRegistryClient(ctx).Register(ctx, labelled(ctx, nse), opts...)
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, labelled(ctx, nse))
}

// labelled labels every service that the endpoint offers.
func labelled(ctx context.Context, nse *registry.NetworkServiceEndpoint) *registry.NetworkServiceEndpoint {
	nse = nse.Clone()
	if nse.NetworkServiceLabels == nil {
		nse.NetworkServiceLabels = make(map[string]*registry.NetworkServiceLabels)
	}
	for _, service := range nse.GetNetworkServiceNames() {
		if nse.NetworkServiceLabels[service] == nil {
			nse.NetworkServiceLabels[service] = new(registry.NetworkServiceLabels)
		}
	}
	for _, labels := range nse.NetworkServiceLabels {
		if labels.Labels == nil {
			labels.Labels = make(map[string]string)
		}
		clientinfo.AddClientInfo(ctx, labels.Labels)
	}
	return nse
}
