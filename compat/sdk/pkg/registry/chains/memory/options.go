// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"net/url"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
)

type serverOptions struct {
	nsServer          registry.NetworkServiceRegistryServer
	nseServer         registry.NetworkServiceEndpointRegistryServer
	nsClient          registry.NetworkServiceRegistryClient
	nseClient         registry.NetworkServiceEndpointRegistryClient
	defaultExpiration time.Duration
	proxyRegistryURL  *url.URL
	dialOptions       []grpc.DialOption
}

// Option changes the registry.
type Option func(o *serverOptions)

func defaults() *serverOptions {
	return &serverOptions{
		nsServer:          authorize.NewNetworkServiceRegistryServer(authorize.Any()),
		nseServer:         authorize.NewNetworkServiceEndpointRegistryServer(authorize.Any()),
		nsClient:          authorize.NewNetworkServiceRegistryClient(authorize.Any()),
		nseClient:         authorize.NewNetworkServiceEndpointRegistryClient(authorize.Any()),
		defaultExpiration: time.Minute,
	}
}

// WithAuthorizeNSRegistryServer replaces the element that authorizes
// registrations of network services; it allows everything.
func WithAuthorizeNSRegistryServer(authorizeNSRegistryServer registry.NetworkServiceRegistryServer) Option {
	mustHave(authorizeNSRegistryServer != nil)
	return func(o *serverOptions) { o.nsServer = authorizeNSRegistryServer }
}

// WithAuthorizeNSERegistryServer replaces the element that authorizes
// registrations of endpoints; it allows everything.
func WithAuthorizeNSERegistryServer(authorizeNSERegistryServer registry.NetworkServiceEndpointRegistryServer) Option {
	mustHave(authorizeNSERegistryServer != nil)
	return func(o *serverOptions) { o.nseServer = authorizeNSERegistryServer }
}

// WithAuthorizeNSRegistryClient replaces the element that authorizes the
// answers of the proxy registry; it allows everything.
func WithAuthorizeNSRegistryClient(authorizeNSRegistryClient registry.NetworkServiceRegistryClient) Option {
	mustHave(authorizeNSRegistryClient != nil)
	return func(o *serverOptions) { o.nsClient = authorizeNSRegistryClient }
}

// WithAuthorizeNSERegistryClient replaces the element that authorizes the
// answers of the proxy registry; it allows everything.
func WithAuthorizeNSERegistryClient(authorizeNSERegistryClient registry.NetworkServiceEndpointRegistryClient) Option {
	mustHave(authorizeNSERegistryClient != nil)
	return func(o *serverOptions) { o.nseClient = authorizeNSERegistryClient }
}

// WithDefaultExpiration limits the life of every endpoint's registration; one
// minute without it.
func WithDefaultExpiration(d time.Duration) Option {
	return func(o *serverOptions) { o.defaultExpiration = d }
}

// WithProxyRegistryURL sets the registry for names of other domains.
func WithProxyRegistryURL(proxyRegistryURL *url.URL) Option {
	return func(o *serverOptions) { o.proxyRegistryURL = proxyRegistryURL }
}

// WithDialOptions sets the gRPC dial options for the proxy registry.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(o *serverOptions) { o.dialOptions = dialOptions }
}

func mustHave(element bool) {
	if !element {
		panic("memory registry: the authorize element is nil")
	}
}
