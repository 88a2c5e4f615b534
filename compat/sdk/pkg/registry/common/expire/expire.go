// SPDX-License-Identifier: Apache-2.0

// Package expire unregisters endpoints that are not refreshed in time.
package expire

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// Option changes the element.
type Option func(*options)

type options struct {
	defaultExpiration time.Duration
}

// WithDefaultExpiration limits the life of every registration, beside the
// tokens. Zero is no limit.
func WithDefaultExpiration(d time.Duration) Option {
	return func(o *options) { o.defaultExpiration = d }
}

// NewNetworkServiceEndpointRegistryServer returns the element. It needs a begin
// server before it. An endpoint's expiration time is the earliest of: what it
// asks for, its own and this process' token, now and the default expiration.
// When ctx ends, nothing expires any more.
func NewNetworkServiceEndpointRegistryServer(ctx context.Context, opts ...Option) registry.NetworkServiceEndpointRegistryServer {
	s := &server{ctx: ctx, expiries: make(map[string]context.CancelFunc)}
	for _, opt := range opts {
		opt(&s.options)
	}
	return s
}

type server struct {
	either.PassNSEServer
	options
	ctx context.Context

	mu       sync.Mutex
	expiries map[string]context.CancelFunc // of the endpoints by name
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	factory := begin.FromContext(ctx)

	nse = nse.Clone()
	if limit := s.limit(ctx); limit != nil && (nse.GetExpirationTime() == nil || limit.Before(nse.GetExpirationTime().AsTime())) {
		nse.ExpirationTime = timestamppb.New(*limit)
	}
	registered, err := next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
	if err != nil {
		return nil, err
	}
	if registered.GetExpirationTime() != nil {
		s.arm(ctx, factory, either.NameOf(nse, registered), registered.GetExpirationTime().AsTime())
	}
	return registered, nil
}

func (s *server) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	s.swap(nse.GetName(), nil)
	return next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
}

// limit returns nil if nothing limits the life of the registration.
func (s *server) limit(ctx context.Context) *time.Time {
	limit := updatepath.ExpirationTimeFromContext(ctx)
	earliest := func(t time.Time) {
		if limit == nil || t.Before(*limit) {
			limit = &t
		}
	}
	if _, expires, err := token.FromContext(ctx); err == nil {
		earliest(expires)
	} else {
		log.FromContext(ctx).Warnf("expire: the caller's token: %v", err)
	}
	if s.defaultExpiration != 0 {
		earliest(clock.FromContext(ctx).Now().Add(s.defaultExpiration))
	}
	return limit
}

// arm replaces the endpoint's timer.
func (s *server) arm(ctx context.Context, factory begin.EventFactory, name string, expires time.Time) {
	c := clock.FromContext(ctx)
	expiryCtx, cancel := context.WithCancel(s.ctx)
	s.swap(name, cancel)
	logger := log.FromContext(ctx)

	timer := c.AfterFunc(c.Until(expires), func() {
		if expiryCtx.Err() != nil {
			return
		}
		logger.Infof("expire: endpoint %s was not refreshed until %v", name, expires)
		for err := range factory.Unregister(begin.CancelContext(expiryCtx), begin.ExtendContext(ctx)) {
			logger.Warnf("expire: unregister endpoint %s: %v", name, err)
		}
	})
	context.AfterFunc(expiryCtx, func() { timer.Stop() })
}

// swap cancels the timer of name and puts cancel in its place.
func (s *server) swap(name string, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.expiries[name]; ok {
		old()
	}
	if cancel == nil {
		delete(s.expiries, name)
	} else {
		s.expiries[name] = cancel
	}
}
