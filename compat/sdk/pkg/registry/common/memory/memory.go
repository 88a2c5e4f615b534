// SPDX-License-Identifier: Apache-2.0

// Package memory keeps a registry in this process.
package memory

import (
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/matchutils"
)

// Option changes the element.
type Option interface {
	apply(*options)
}

type options struct {
	eventChannelSize int
}

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// WithEventChannelSize sets for how many changes at first there is room in the
// queue of each watcher, 10 without it. The queue grows: a watcher that is slow
// holds nobody up.
func WithEventChannelSize(l int) Option {
	return optionFunc(func(o *options) { o.eventChannelSize = l })
}

// NewNetworkServiceRegistryServer returns a registry of network services.
func NewNetworkServiceRegistryServer(options ...Option) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSAnswer, either.NSSend]{
		store: newStore[either.NS](options),
		match: func(query either.NSQuery, ns either.NS) bool {
			return matchutils.MatchNetworkServices(query.GetNetworkService(), ns)
		},
		response: func(ns either.NS, deleted bool) either.NSAnswer {
			return &registry.NetworkServiceResponse{NetworkService: ns, Deleted: deleted}
		},
	}
}

// NewNetworkServiceEndpointRegistryServer returns a registry of endpoints.
func NewNetworkServiceEndpointRegistryServer(options ...Option) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSESend]{
		store: newStore[either.NSE](options),
		match: func(query either.NSEQuery, nse either.NSE) bool {
			return matchutils.MatchNetworkServiceEndpoints(query.GetNetworkServiceEndpoint(), nse)
		},
		response: func(nse either.NSE, deleted bool) either.NSEAnswer {
			return &registry.NetworkServiceEndpointResponse{NetworkServiceEndpoint: nse, Deleted: deleted}
		},
	}
}
