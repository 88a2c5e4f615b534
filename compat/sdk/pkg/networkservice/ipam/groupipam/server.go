// SPDX-License-Identifier: Apache-2.0

// Package groupipam gives each connection addresses of several groups of
// prefixes, for example one of IPv4 and one of IPv6.
package groupipam

import (
	"net"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
)

// Option changes the element.
type Option func(*options)

type options struct {
	newServer func(...*net.IPNet) networkservice.NetworkServiceServer
}

// WithCustomIPAMServer sets what makes the IPAM of a group;
// point2pointipam.NewServer without it. It panics if f is nil.
func WithCustomIPAMServer(f func(...*net.IPNet) networkservice.NetworkServiceServer) Option {
	if f == nil {
		panic("group IPAM: there is no IPAM server to make")
	}
	return func(o *options) { o.newServer = f }
}

// NewServer returns a chain with the IPAM of each group.
func NewServer(groups [][]*net.IPNet, opts ...Option) networkservice.NetworkServiceServer {
	o := options{newServer: point2pointipam.NewServer}
	for _, opt := range opts {
		opt(&o)
	}
	servers := make([]networkservice.NetworkServiceServer, 0, len(groups))
	for _, group := range groups {
		servers = append(servers, o.newServer(group...))
	}
	return chain.NewNetworkServiceServer(servers...)
}
