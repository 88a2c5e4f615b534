// SPDX-License-Identifier: Apache-2.0

// Package retry repeats calls that fail until they succeed or their context ends.
package retry

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// Option changes how the element tries.
type Option func(*options)

type options struct {
	interval   time.Duration
	tryTimeout time.Duration
}

// WithTryTimeout limits the time of each try of a Register or Unregister; 15 s
// without it.
func WithTryTimeout(tryTimeout time.Duration) Option {
	return func(o *options) { o.tryTimeout = tryTimeout }
}

// WithInterval sets the pause between tries; 200 ms without it.
func WithInterval(interval time.Duration) Option {
	return func(o *options) { o.interval = interval }
}

// NewNetworkServiceRegistryClient returns the element for network services. No
// call is repeated after ctx has ended.
func NewNetworkServiceRegistryClient(ctx context.Context, opts ...Option) registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSRecv]{ctx: ctx, options: apply(opts)}
}

// NewNetworkServiceEndpointRegistryClient returns the element for endpoints. No
// call is repeated after ctx has ended.
func NewNetworkServiceEndpointRegistryClient(ctx context.Context, opts ...Option) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{ctx: ctx, options: apply(opts)}
}

func apply(opts []Option) options {
	o := options{interval: 200 * time.Millisecond, tryTimeout: 15 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

type client[T either.Resource[T], Q, F any] struct {
	options
	ctx context.Context
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return repeat(ctx, c.ctx, c.interval, "register", func() (T, error) {
		tryCtx, cancel := clock.FromContext(ctx).WithTimeout(ctx, c.tryTimeout)
		defer cancel()
		return either.NextClient[T, Q, F](ctx).Register(tryCtx, in.Clone(), opts...)
	})
}

// Find repeats only the opening of the stream; the stream itself may stay open
// as long as ctx.
func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	return repeat(ctx, c.ctx, c.interval, "find", func() (F, error) {
		return either.NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
	})
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return repeat(ctx, c.ctx, c.interval, "unregister", func() (*emptypb.Empty, error) {
		tryCtx, cancel := clock.FromContext(ctx).WithTimeout(ctx, c.tryTimeout)
		defer cancel()
		return either.NextClient[T, Q, F](ctx).Unregister(tryCtx, in.Clone(), opts...)
	})
}

func repeat[R any](ctx, chainCtx context.Context, interval time.Duration, what string, try func() (R, error)) (R, error) {
	var reason error
	for {
		out, err := try()
		if err == nil {
			return out, nil
		}
		// A try that the end of the call cut short does not know why.
		if reason == nil || ctx.Err() == nil {
			reason = err
		}
		log.FromContext(ctx).Debugf("%s: %v; next try in %v", what, err, interval)
		select {
		case <-clock.FromContext(ctx).After(interval):
			continue
		case <-ctx.Done():
			return out, fmt.Errorf("%s: %w; the last try: %w", what, ctx.Err(), reason)
		case <-chainCtx.Done():
			return out, fmt.Errorf("%s: %w; the last try: %w", what, chainCtx.Err(), reason)
		}
	}
}
