// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"net/url"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	authmonitor "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
)

type serverOptions struct {
	authorizeServer        networkservice.NetworkServiceServer
	authorizeMonitorServer networkservice.MonitorConnectionServer
	authorizeNSServer      registryapi.NetworkServiceRegistryServer
	authorizeNSClient      registryapi.NetworkServiceRegistryClient
	authorizeNSEServer     registryapi.NetworkServiceEndpointRegistryServer
	authorizeNSEClient     registryapi.NetworkServiceEndpointRegistryClient

	name                 string
	url                  string
	registryURL          *url.URL
	forwarderServiceName string
	defaultExpiration    time.Duration
	dialTimeout          time.Duration
	dialOptions          []grpc.DialOption
}

func defaults() *serverOptions {
	return &serverOptions{
		authorizeServer:        authorize.NewServer(authorize.Any()),
		authorizeMonitorServer: authmonitor.NewMonitorConnectionServer(authmonitor.Any()),
		authorizeNSServer:      registryauthorize.NewNetworkServiceRegistryServer(registryauthorize.Any()),
		authorizeNSClient:      registryauthorize.NewNetworkServiceRegistryClient(registryauthorize.Any()),
		authorizeNSEServer:     registryauthorize.NewNetworkServiceEndpointRegistryServer(registryauthorize.Any()),
		authorizeNSEClient:     registryauthorize.NewNetworkServiceEndpointRegistryClient(registryauthorize.Any()),
		name:                   "nsmgr-" + uuid.NewString(),
		forwarderServiceName:   "forwarder",
		defaultExpiration:      time.Minute,
		dialTimeout:            15 * time.Second,
	}
}

// Option changes the nsmgr.
type Option func(o *serverOptions)

// WithDialOptions sets the gRPC options for every connection that the nsmgr makes.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(o *serverOptions) { o.dialOptions = dialOptions }
}

// WithForwarderServiceName sets the network service under which forwarders
// register; "forwarder" without it.
func WithForwarderServiceName(forwarderServiceName string) Option {
	return func(o *serverOptions) { o.forwarderServiceName = forwarderServiceName }
}

// WithDefaultExpiration limits the life of every endpoint's registration; one
// minute without it.
func WithDefaultExpiration(d time.Duration) Option {
	return func(o *serverOptions) { o.defaultExpiration = d }
}

// WithDialTimeout limits the time to connect; 15 s without it.
func WithDialTimeout(dialTimeout time.Duration) Option {
	return func(o *serverOptions) { o.dialTimeout = dialTimeout }
}

// WithAuthorizeServer replaces the element that authorizes requests; it allows
// everything.
func WithAuthorizeServer(authorizeServer networkservice.NetworkServiceServer) Option {
	mustHave(authorizeServer != nil)
	return func(o *serverOptions) { o.authorizeServer = authorizeServer }
}

// WithAuthorizeMonitorConnectionServer replaces the element that authorizes
// monitors; it allows everything.
func WithAuthorizeMonitorConnectionServer(authorizeMonitorConnectionServer networkservice.MonitorConnectionServer) Option {
	mustHave(authorizeMonitorConnectionServer != nil)
	return func(o *serverOptions) { o.authorizeMonitorServer = authorizeMonitorConnectionServer }
}

// WithAuthorizeNSRegistryServer replaces the element that authorizes
// registrations of network services; it allows everything.
func WithAuthorizeNSRegistryServer(authorizeNSRegistryServer registryapi.NetworkServiceRegistryServer) Option {
	mustHave(authorizeNSRegistryServer != nil)
	return func(o *serverOptions) { o.authorizeNSServer = authorizeNSRegistryServer }
}

// WithAuthorizeNSERegistryServer replaces the element that authorizes
// registrations of endpoints; it allows everything.
func WithAuthorizeNSERegistryServer(authorizeNSERegistryServer registryapi.NetworkServiceEndpointRegistryServer) Option {
	mustHave(authorizeNSERegistryServer != nil)
	return func(o *serverOptions) { o.authorizeNSEServer = authorizeNSERegistryServer }
}

// WithAuthorizeNSRegistryClient replaces the element that authorizes the
// registry's answers about network services; it allows everything.
func WithAuthorizeNSRegistryClient(authorizeNSRegistryClient registryapi.NetworkServiceRegistryClient) Option {
	mustHave(authorizeNSRegistryClient != nil)
	return func(o *serverOptions) { o.authorizeNSClient = authorizeNSRegistryClient }
}

// WithAuthorizeNSERegistryClient replaces the element that authorizes the
// registry's answers about endpoints; it allows everything.
func WithAuthorizeNSERegistryClient(authorizeNSERegistryClient registryapi.NetworkServiceEndpointRegistryClient) Option {
	mustHave(authorizeNSERegistryClient != nil)
	return func(o *serverOptions) { o.authorizeNSEClient = authorizeNSERegistryClient }
}

// WithRegistry sets the URL of the registry. Without it the nsmgr keeps one of
// its own in memory.
func WithRegistry(regURL *url.URL) Option {
	return func(o *serverOptions) { o.registryURL = regURL }
}

// WithName sets the name of the nsmgr in paths; nsmgr-<uuid> without it.
func WithName(name string) Option {
	return func(o *serverOptions) { o.name = name }
}

// WithURL sets the URL by which other nodes reach this nsmgr, and so its
// endpoints.
func WithURL(u string) Option {
	return func(o *serverOptions) { o.url = u }
}

func mustHave(element bool) {
	if !element {
		panic("nsmgr: the authorize element is nil")
	}
}
