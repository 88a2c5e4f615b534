// SPDX-License-Identifier: Apache-2.0

// Package memory is the whole registry of a domain, kept in this process.
package memory

import (
	"context"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/registry"

	registryserver "github.com/networkservicemesh/sdk/pkg/registry"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/registry/common/connect"
	"github.com/networkservicemesh/sdk/pkg/registry/common/dial"
	"github.com/networkservicemesh/sdk/pkg/registry/common/expire"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setpayload"
	"github.com/networkservicemesh/sdk/pkg/registry/common/setregistrationtime"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/switchcase"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/interdomain"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// NewServer returns the registry. What is asked for in another domain, by a name
// of the form target@domain, is passed on to the proxy registry.
func NewServer(ctx context.Context, tokenGenerator token.GeneratorFunc, options ...Option) registryserver.Registry {
	o := defaults()
	for _, option := range options {
		option(o)
	}
	return registryserver.NewServer(
		chain.NewNetworkServiceRegistryServer(
			grpcmetadata.NewNetworkServiceRegistryServer(),
			updatepath.NewNetworkServiceRegistryServer(tokenGenerator),
			o.nsServer,
			metadata.NewNetworkServiceServer(),
			setpayload.NewNetworkServiceRegistryServer(),
			switchcase.NewNetworkServiceRegistryServer(
				switchcase.NSServerCase{Condition: elsewhereNS, Action: nsProxy(ctx, o)},
				switchcase.NSServerCase{
					Condition: func(context.Context, *registry.NetworkService) bool { return true },
					Action:    memory.NewNetworkServiceRegistryServer(),
				},
			),
		),
		chain.NewNetworkServiceEndpointRegistryServer(
			grpcmetadata.NewNetworkServiceEndpointRegistryServer(),
			updatepath.NewNetworkServiceEndpointRegistryServer(tokenGenerator),
			o.nseServer,
			begin.NewNetworkServiceEndpointRegistryServer(),
			metadata.NewNetworkServiceEndpointServer(),
			switchcase.NewNetworkServiceEndpointRegistryServer(
				switchcase.NSEServerCase{Condition: elsewhereNSE, Action: nseProxy(ctx, o)},
				switchcase.NSEServerCase{
					Condition: func(context.Context, *registry.NetworkServiceEndpoint) bool { return true },
					Action: chain.NewNetworkServiceEndpointRegistryServer(
						setregistrationtime.NewNetworkServiceEndpointRegistryServer(),
						expire.NewNetworkServiceEndpointRegistryServer(ctx, expire.WithDefaultExpiration(o.defaultExpiration)),
						memory.NewNetworkServiceEndpointRegistryServer(),
					),
				},
			),
		),
	)
}

func elsewhereNS(_ context.Context, ns *registry.NetworkService) bool {
	return interdomain.Is(ns.GetName())
}

func elsewhereNSE(_ context.Context, nse *registry.NetworkServiceEndpoint) bool {
	return interdomain.Is(nse.GetName()) || slices.ContainsFunc(nse.GetNetworkServiceNames(), interdomain.Is)
}

func nsProxy(ctx context.Context, o *serverOptions) registry.NetworkServiceRegistryServer {
	return connect.NewNetworkServiceRegistryServer(
		chain.NewNetworkServiceRegistryClient(
			clienturl.NewNetworkServiceRegistryClient(o.proxyRegistryURL),
			begin.NewNetworkServiceRegistryClient(),
			clientconn.NewNetworkServiceRegistryClient(),
			o.nsClient,
			grpcmetadata.NewNetworkServiceRegistryClient(),
			dial.NewNetworkServiceRegistryClient(ctx, dial.WithDialOptions(o.dialOptions...)),
			connect.NewNetworkServiceRegistryClient(),
		),
	)
}

func nseProxy(ctx context.Context, o *serverOptions) registry.NetworkServiceEndpointRegistryServer {
	return connect.NewNetworkServiceEndpointRegistryServer(
		chain.NewNetworkServiceEndpointRegistryClient(
			begin.NewNetworkServiceEndpointRegistryClient(),
			clienturl.NewNetworkServiceEndpointRegistryClient(o.proxyRegistryURL),
			clientconn.NewNetworkServiceEndpointRegistryClient(),
			o.nseClient,
			grpcmetadata.NewNetworkServiceEndpointRegistryClient(),
			dial.NewNetworkServiceEndpointRegistryClient(ctx, dial.WithDialOptions(o.dialOptions...)),
			connect.NewNetworkServiceEndpointRegistryClient(),
		),
	)
}
