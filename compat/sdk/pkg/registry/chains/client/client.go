// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/common/connect"
	"github.com/networkservicemesh/sdk/pkg/registry/common/dial"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/heal"
	"github.com/networkservicemesh/sdk/pkg/registry/common/null"
	"github.com/networkservicemesh/sdk/pkg/registry/common/refresh"
	"github.com/networkservicemesh/sdk/pkg/registry/common/retry"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
)

const defaultDialTimeout = 300 * time.Millisecond

// NewNetworkServiceRegistryClient returns a client that registers and finds
// network services. What it registered is registered again when the registry
// comes back, until ctx ends.
func NewNetworkServiceRegistryClient(ctx context.Context, opts ...Option) registry.NetworkServiceRegistryClient {
	o := &clientOptions{
		nsResolver:  null.NewNetworkServiceRegistryClient(),
		nsAuthorize: authorize.NewNetworkServiceRegistryClient(authorize.Any()),
		nsHeal:      heal.NewNetworkServiceRegistryClient(ctx),
		nsRetry:     retry.NewNetworkServiceRegistryClient(ctx),
		dialTimeout: defaultDialTimeout,
	}
	for _, opt := range opts {
		opt(o)
	}
	elements := []registry.NetworkServiceRegistryClient{
		begin.NewNetworkServiceRegistryClient(),
		metadata.NewNetworkServiceClient(),
		o.nsRetry,
		o.nsAuthorize,
		o.nsHeal,
		o.nsResolver,
		clientconn.NewNetworkServiceRegistryClient(),
		grpcmetadata.NewNetworkServiceRegistryClient(),
		dial.NewNetworkServiceRegistryClient(ctx, dial.WithDialTimeout(o.dialTimeout), dial.WithDialOptions(o.dialOptions...)),
	}
	elements = append(elements, o.nsAdditional...)
	elements = append(elements, connect.NewNetworkServiceRegistryClient())
	return chain.NewNetworkServiceRegistryClient(elements...)
}

// NewNetworkServiceEndpointRegistryClient returns a client that registers and
// finds endpoints. What it registered is refreshed, and registered again when
// the registry comes back, until ctx ends.
func NewNetworkServiceEndpointRegistryClient(ctx context.Context, opts ...Option) registry.NetworkServiceEndpointRegistryClient {
	o := &clientOptions{
		nseResolver:  null.NewNetworkServiceEndpointRegistryClient(),
		nseAuthorize: authorize.NewNetworkServiceEndpointRegistryClient(authorize.Any()),
		nseHeal:      heal.NewNetworkServiceEndpointRegistryClient(ctx),
		nseRetry:     retry.NewNetworkServiceEndpointRegistryClient(ctx),
		dialTimeout:  defaultDialTimeout,
	}
	for _, opt := range opts {
		opt(o)
	}
	elements := []registry.NetworkServiceEndpointRegistryClient{
		begin.NewNetworkServiceEndpointRegistryClient(),
		metadata.NewNetworkServiceEndpointClient(),
		o.nseRetry,
		o.nseHeal,
		refresh.NewNetworkServiceEndpointRegistryClient(ctx),
		o.nseAuthorize,
		o.nseResolver,
		clientconn.NewNetworkServiceEndpointRegistryClient(),
		grpcmetadata.NewNetworkServiceEndpointRegistryClient(),
		dial.NewNetworkServiceEndpointRegistryClient(ctx, dial.WithDialTimeout(o.dialTimeout), dial.WithDialOptions(o.dialOptions...)),
	}
	elements = append(elements, o.nseAdditional...)
	elements = append(elements, connect.NewNetworkServiceEndpointRegistryClient())
	return chain.NewNetworkServiceEndpointRegistryClient(elements...)
}
