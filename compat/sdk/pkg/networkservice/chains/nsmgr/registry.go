// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"

	registryapi "github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/registry/common/connect"
	"github.com/networkservicemesh/sdk/pkg/registry/common/dial"
	"github.com/networkservicemesh/sdk/pkg/registry/common/expire"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/localbypass"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	"github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

func nsRegistry(ctx context.Context, tokenGenerator token.GeneratorFunc, o *serverOptions) registryapi.NetworkServiceRegistryServer {
	upstream := memory.NewNetworkServiceRegistryServer()
	if o.registryURL != nil {
		upstream = connect.NewNetworkServiceRegistryServer(
			chain.NewNetworkServiceRegistryClient(
				clienturl.NewNetworkServiceRegistryClient(o.registryURL),
				begin.NewNetworkServiceRegistryClient(),
				clientconn.NewNetworkServiceRegistryClient(),
				o.authorizeNSClient,
				grpcmetadata.NewNetworkServiceRegistryClient(),
				dial.NewNetworkServiceRegistryClient(ctx, dial.WithDialTimeout(o.dialTimeout), dial.WithDialOptions(o.dialOptions...)),
				connect.NewNetworkServiceRegistryClient(),
			),
		)
	}
	return chain.NewNetworkServiceRegistryServer(
		grpcmetadata.NewNetworkServiceRegistryServer(),
		updatepath.NewNetworkServiceRegistryServer(tokenGenerator),
		o.authorizeNSServer,
		upstream,
	)
}

// nseRegistry is for other processes; the nsmgr itself asks local.
func nseRegistry(ctx context.Context, tokenGenerator token.GeneratorFunc, o *serverOptions, local registryapi.NetworkServiceEndpointRegistryServer) registryapi.NetworkServiceEndpointRegistryServer {
	return chain.NewNetworkServiceEndpointRegistryServer(
		grpcmetadata.NewNetworkServiceEndpointRegistryServer(),
		updatepath.NewNetworkServiceEndpointRegistryServer(tokenGenerator),
		o.authorizeNSEServer,
		begin.NewNetworkServiceEndpointRegistryServer(),
		clientinfo.NewNetworkServiceEndpointRegistryServer(),
		expire.NewNetworkServiceEndpointRegistryServer(ctx, expire.WithDefaultExpiration(o.defaultExpiration)),
		recvfd.NewNetworkServiceEndpointRegistryServer(recvfd.WithForwarderServiceName(o.forwarderServiceName)),
		sendfd.NewNetworkServiceEndpointRegistryServer(),
		local,
	)
}

// localNSERegistry finds local endpoints under their own URLs, which are
// sockets that the nsmgr holds open.
func localNSERegistry(ctx context.Context, o *serverOptions) registryapi.NetworkServiceEndpointRegistryServer {
	upstream := memory.NewNetworkServiceEndpointRegistryServer()
	if o.registryURL != nil {
		upstream = connect.NewNetworkServiceEndpointRegistryServer(
			chain.NewNetworkServiceEndpointRegistryClient(
				begin.NewNetworkServiceEndpointRegistryClient(),
				clienturl.NewNetworkServiceEndpointRegistryClient(o.registryURL),
				clientconn.NewNetworkServiceEndpointRegistryClient(),
				o.authorizeNSEClient,
				grpcmetadata.NewNetworkServiceEndpointRegistryClient(),
				dial.NewNetworkServiceEndpointRegistryClient(ctx, dial.WithDialTimeout(o.dialTimeout), dial.WithDialOptions(o.dialOptions...)),
				connect.NewNetworkServiceEndpointRegistryClient(),
			),
		)
	}
	return chain.NewNetworkServiceEndpointRegistryServer(
		localbypass.NewNetworkServiceEndpointRegistryServer(o.url),
		upstream,
	)
}
