// SPDX-License-Identifier: Apache-2.0

// Package refresh registers an endpoint again before it expires.
package refresh

import (
	"context"
	"time"

	"github.com/edwarnicke/genericsync"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// retryInterval is the pause after a refresh that failed.
const retryInterval = 200 * time.Millisecond

type client struct {
	either.PassNSEClient
	ctx   context.Context
	loops genericsync.Map[string, context.CancelFunc]
}

// NewNetworkServiceEndpointRegistryClient returns the element: it refreshes
// when two thirds of the time to the expiration have passed, until the
// endpoint is unregistered or ctx ends. It needs a begin client before it.
func NewNetworkServiceEndpointRegistryClient(ctx context.Context) registry.NetworkServiceEndpointRegistryClient {
	return &client{ctx: ctx}
}

func (c *client) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*registry.NetworkServiceEndpoint, error) {
	factory := begin.FromContext(ctx)
	registered, err := next.NetworkServiceEndpointRegistryClient(ctx).Register(ctx, nse, opts...)
	if err != nil {
		return nil, err
	}
	name := either.NameOf(nse, registered)
	c.stop(name)
	if expires := registered.GetExpirationTime(); expires != nil {
		loopCtx, cancel := context.WithCancel(c.ctx)
		c.loops.Store(name, cancel)
		c := clock.FromContext(ctx)
		go loop(loopCtx, c.Timer(2*c.Until(expires.AsTime())/3), factory, name)
	}
	return registered, nil
}

func (c *client) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.stop(nse.GetName())
	return next.NetworkServiceEndpointRegistryClient(ctx).Unregister(ctx, nse, opts...)
}

func (c *client) stop(name string) {
	if cancel, ok := c.loops.LoadAndDelete(name); ok {
		cancel()
	}
}

// loop ends when a refresh succeeds, for that cancels ctx and starts another.
func loop(ctx context.Context, timer clock.Timer, factory begin.EventFactory, name string) {
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		for err := range factory.Register(begin.CancelContext(ctx)) {
			log.FromContext(ctx).Warnf("refresh endpoint %s: %v", name, err)
		}
		timer.Reset(retryInterval)
	}
}
