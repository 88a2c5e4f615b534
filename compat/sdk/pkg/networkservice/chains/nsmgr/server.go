// SPDX-License-Identifier: Apache-2.0

// Package nsmgr is the network service manager: the one process of a node that
// all clients, endpoints and forwarders of the node know. It hands requests to a
// forwarder and registers endpoints under its own URL.
package nsmgr

import (
	"context"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discoverforwarder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/excludedprefixes"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/metrics"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/netsvcmonitor"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry"
	registryadapters "github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// Nsmgr serves connections, monitors and both registries.
type Nsmgr interface {
	networkservice.NetworkServiceServer
	networkservice.MonitorConnectionServer
	registry.Registry
}

type server struct {
	endpoint.Endpoint
	registries registry.Registry
}

// NewServer returns an nsmgr that works until ctx ends.
func NewServer(ctx context.Context, tokenGenerator token.GeneratorFunc, options ...Option) Nsmgr {
	o := defaults()
	for _, option := range options {
		option(o)
	}
	ns := nsRegistry(ctx, tokenGenerator, o)
	local := localNSERegistry(ctx, o)
	nsClient := registryadapters.NetworkServiceServerToClient(ns)
	nseClient := registryadapters.NetworkServiceEndpointServerToClient(local)

	return &server{
		registries: registry.NewServer(ns, nseRegistry(ctx, tokenGenerator, o, local)),
		Endpoint: endpoint.NewServer(ctx, tokenGenerator,
			endpoint.WithName(o.name),
			endpoint.WithAuthorizeServer(o.authorizeServer),
			endpoint.WithAuthorizeMonitorConnectionServer(o.authorizeMonitorServer),
			endpoint.WithAdditionalFunctionality(
				adapters.NewClientToServer(clientinfo.NewClient()),
				discoverforwarder.NewServer(nsClient, nseClient,
					discoverforwarder.WithForwarderServiceName(o.forwarderServiceName),
					discoverforwarder.WithNSMgrURL(o.url),
				),
				netsvcmonitor.NewServer(ctx, nsClient, nseClient),
				excludedprefixes.NewServer(ctx),
				recvfd.NewServer(),
				metrics.NewServer(),
				connect.NewServer(
					client.NewClient(ctx,
						client.WithName(o.name),
						client.WithAdditionalFunctionality(
							recvfd.NewClient(),
							sendfd.NewClient(),
						),
						client.WithDialOptions(o.dialOptions...),
						client.WithDialTimeout(o.dialTimeout),
						client.WithoutRefresh(),
					),
				),
				sendfd.NewServer(),
			),
		),
	}
}

func (s *server) NetworkServiceRegistryServer() registryapi.NetworkServiceRegistryServer {
	return s.registries.NetworkServiceRegistryServer()
}

func (s *server) NetworkServiceEndpointRegistryServer() registryapi.NetworkServiceEndpointRegistryServer {
	return s.registries.NetworkServiceEndpointRegistryServer()
}

// Register adds all services of the nsmgr, and their health services, to gs.
func (s *server) Register(gs *grpc.Server) {
	ns, nse := s.NetworkServiceRegistryServer(), s.NetworkServiceEndpointRegistryServer()
	grpcutils.RegisterHealthServices(gs, s, ns, nse)
	networkservice.RegisterNetworkServiceServer(gs, s)
	networkservice.RegisterMonitorConnectionServer(gs, s)
	registryapi.RegisterNetworkServiceRegistryServer(gs, ns)
	registryapi.RegisterNetworkServiceEndpointRegistryServer(gs, nse)
}
