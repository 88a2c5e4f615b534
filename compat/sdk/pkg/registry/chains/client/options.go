// SPDX-License-Identifier: Apache-2.0

// Package client has the chains with which a program calls a registry.
package client

import (
	"net/url"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/clienturl"
)

type clientOptions struct {
	nsResolver, nsAuthorize, nsHeal, nsRetry     registry.NetworkServiceRegistryClient
	nseResolver, nseAuthorize, nseHeal, nseRetry registry.NetworkServiceEndpointRegistryClient
	nsAdditional                                 []registry.NetworkServiceRegistryClient
	nseAdditional                                []registry.NetworkServiceEndpointRegistryClient
	dialOptions                                  []grpc.DialOption
	dialTimeout                                  time.Duration
}

// Option changes a chain. Those for the other kind of registry have no effect.
type Option func(clientOpts *clientOptions)

// WithClientURL sets the URL of the registry.
func WithClientURL(u *url.URL) Option {
	return func(o *clientOptions) {
		o.nsResolver = clienturl.NewNetworkServiceRegistryClient(u)
		o.nseResolver = clienturl.NewNetworkServiceEndpointRegistryClient(u)
	}
}

// WithNSClientURLResolver sets the element that puts the URL of the registry
// into the context.
func WithNSClientURLResolver(c registry.NetworkServiceRegistryClient) Option {
	return func(o *clientOptions) { o.nsResolver = c }
}

// WithNSEClientURLResolver sets the element that puts the URL of the registry
// into the context.
func WithNSEClientURLResolver(c registry.NetworkServiceEndpointRegistryClient) Option {
	return func(o *clientOptions) { o.nseResolver = c }
}

// WithNSHealClient replaces the heal element.
func WithNSHealClient(c registry.NetworkServiceRegistryClient) Option {
	return func(o *clientOptions) { o.nsHeal = c }
}

// WithNSEHealClient replaces the heal element.
func WithNSEHealClient(c registry.NetworkServiceEndpointRegistryClient) Option {
	return func(o *clientOptions) { o.nseHeal = c }
}

// WithNSRetryClient replaces the retry element.
func WithNSRetryClient(c registry.NetworkServiceRegistryClient) Option {
	return func(o *clientOptions) { o.nsRetry = c }
}

// WithNSERetryClient replaces the retry element.
func WithNSERetryClient(c registry.NetworkServiceEndpointRegistryClient) Option {
	return func(o *clientOptions) { o.nseRetry = c }
}

// WithAuthorizeNSRegistryClient replaces the authorize element, which allows
// everything.
func WithAuthorizeNSRegistryClient(authorizeNSRegistryClient registry.NetworkServiceRegistryClient) Option {
	mustHave("authorize element", authorizeNSRegistryClient != nil)
	return func(o *clientOptions) { o.nsAuthorize = authorizeNSRegistryClient }
}

// WithAuthorizeNSERegistryClient replaces the authorize element, which allows
// everything.
func WithAuthorizeNSERegistryClient(authorizeNSERegistryClient registry.NetworkServiceEndpointRegistryClient) Option {
	mustHave("authorize element", authorizeNSERegistryClient != nil)
	return func(o *clientOptions) { o.nseAuthorize = authorizeNSERegistryClient }
}

// WithNSAdditionalFunctionality puts elements before the gRPC call.
func WithNSAdditionalFunctionality(additionalFunctionality ...registry.NetworkServiceRegistryClient) Option {
	return func(o *clientOptions) { o.nsAdditional = additionalFunctionality }
}

// WithNSEAdditionalFunctionality puts elements before the gRPC call.
func WithNSEAdditionalFunctionality(additionalFunctionality ...registry.NetworkServiceEndpointRegistryClient) Option {
	return func(o *clientOptions) { o.nseAdditional = additionalFunctionality }
}

// WithDialOptions sets the gRPC dial options.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(o *clientOptions) { o.dialOptions = dialOptions }
}

// WithDialTimeout sets how long a call waits for the connection; 300 ms without it.
func WithDialTimeout(dialTimeout time.Duration) Option {
	return func(o *clientOptions) { o.dialTimeout = dialTimeout }
}

func mustHave(what string, ok bool) {
	if !ok {
		panic("registry client: the " + what + " is nil")
	}
}
