// SPDX-License-Identifier: Apache-2.0

// Package client is the chain of every NSM client, and of the client half of
// every hop.
package client

import (
	"context"
	"net/url"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/dial"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/refresh"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/trimpath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type clientOptions struct {
	name        string
	url         *url.URL
	cc          grpc.ClientConnInterface
	additional  []networkservice.NetworkServiceClient
	authorize   networkservice.NetworkServiceClient
	heal        networkservice.NetworkServiceClient
	refresh     networkservice.NetworkServiceClient
	dialOptions []grpc.DialOption
	dialTimeout time.Duration
	reselect    begin.ReselectFunc
}

// Option configures NewClient.
type Option func(c *clientOptions)

// WithName sets the name of the hop in paths: a random one unless set.
func WithName(name string) Option { return func(c *clientOptions) { c.name = name } }

// WithClientURL sets the URL of the next hop.
func WithClientURL(clientURL *url.URL) Option { return func(c *clientOptions) { c.url = clientURL } }

// WithClientConn sets the gRPC connection to the next hop.
func WithClientConn(cc grpc.ClientConnInterface) Option {
	return func(c *clientOptions) { c.cc = cc }
}

// WithAdditionalFunctionality sets what follows dial in the chain.
func WithAdditionalFunctionality(additionalFunctionality ...networkservice.NetworkServiceClient) Option {
	return func(c *clientOptions) { c.additional = additionalFunctionality }
}

// WithAuthorizeClient sets whom to connect to: anybody unless set.
func WithAuthorizeClient(authorizeClient networkservice.NetworkServiceClient) Option {
	if authorizeClient == nil {
		panic("client: WithAuthorizeClient(nil)")
	}
	return func(c *clientOptions) { c.authorize = authorizeClient }
}

// WithHealClient sets how to heal: not at all unless set.
func WithHealClient(healClient networkservice.NetworkServiceClient) Option {
	if healClient == nil {
		panic("client: WithHealClient(nil)")
	}
	return func(c *clientOptions) { c.heal = healClient }
}

// WithDialOptions sets the options of gRPC connections that the chain makes.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(c *clientOptions) { c.dialOptions = dialOptions }
}

// WithDialTimeout sets how long such a connection may take to be ready.
func WithDialTimeout(dialTimeout time.Duration) Option {
	return func(c *clientOptions) { c.dialTimeout = dialTimeout }
}

// WithoutRefresh leaves refreshing to the hop before.
func WithoutRefresh() Option {
	return func(c *clientOptions) { c.refresh = null.NewClient() }
}

// WithReselectFunc sets how to ask for another endpoint:
// begin.DefaultReselectFunc unless set.
func WithReselectFunc(f func(*networkservice.NetworkServiceRequest)) Option {
	return func(c *clientOptions) { c.reselect = f }
}

// NewClient returns the chain. What it does by itself (refreshing, healing) ends
// with ctx.
func NewClient(ctx context.Context, clientOpts ...Option) networkservice.NetworkServiceClient {
	o := &clientOptions{
		name:      "client-" + uuid.NewString(),
		authorize: null.NewClient(),
		heal:      null.NewClient(),
		refresh:   refresh.NewClient(ctx),
		reselect:  begin.DefaultReselectFunc,
	}
	for _, opt := range clientOpts {
		opt(o)
	}
	clients := append([]networkservice.NetworkServiceClient{
		updatepath.NewClient(o.name),
		begin.NewClient(begin.WithReselectFunc(o.reselect)),
		metadata.NewClient(),
		o.refresh,
		clienturl.NewClient(o.url),
		clientconn.NewClient(o.cc),
		o.heal,
		dial.NewClient(ctx, dial.WithDialOptions(o.dialOptions...), dial.WithDialTimeout(o.dialTimeout)),
	}, o.additional...)
	return chain.NewNetworkServiceClient(append(clients,
		o.authorize,
		trimpath.NewClient(),
		connect.NewClient(),
	)...)
}
