// SPDX-License-Identifier: Apache-2.0

// Package dial connects to the URL in the context (package clienturl) and puts
// the connection where connect finds it (package clientconn).
package dial

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

// Option changes how the element dials.
type Option func(*option)

type option struct {
	timeout time.Duration
	options []grpc.DialOption
}

// WithDialOptions sets the gRPC dial options.
func WithDialOptions(dialOptions ...grpc.DialOption) Option {
	return func(o *option) { o.options = dialOptions }
}

// WithDialTimeout limits the time that a call waits for the connection. Without
// it a call waits until its context ends.
func WithDialTimeout(dialTimeout time.Duration) Option {
	return func(o *option) { o.timeout = dialTimeout }
}

// NewNetworkServiceRegistryClient returns the element for network services.
// Connections are shared between calls and closed when chainCtx ends.
func NewNetworkServiceRegistryClient(chainCtx context.Context, opts ...Option) registry.NetworkServiceRegistryClient {
	return &client[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv]{newPool(chainCtx, apply(opts))}
}

// NewNetworkServiceEndpointRegistryClient returns the element for endpoints.
// Connections are shared between calls and closed when chainCtx ends.
func NewNetworkServiceEndpointRegistryClient(chainCtx context.Context, opts ...Option) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv]{newPool(chainCtx, apply(opts))}
}

func apply(opts []Option) *option {
	o := new(option)
	for _, opt := range opts {
		opt(o)
	}
	return o
}

type client[T any, Q either.Query, R any, F either.RecvStream[R]] struct {
	pool *pool
}

func (c *client[T, Q, R, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return call(ctx, c.pool, func() (T, error) {
		return either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
	})
}

func (c *client[T, Q, R, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return call(ctx, c.pool, func() (*emptypb.Empty, error) {
		return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
	})
}

// call is made once more, over another connection, if it may have been refused
// for the age of the first.
func call[R any](ctx context.Context, p *pool, next func() (R, error)) (R, error) {
	var none R
	l, err := connect(ctx, p, false)
	if err != nil {
		return none, err
	}
	out, err := next()
	if l == nil {
		return out, err
	}
	outdated := l.outdated(err)
	p.put(l, outdated || l.broke(err))
	if !outdated {
		return out, err
	}
	clientconn.Delete(ctx)
	if l, err = connect(ctx, p, false); err != nil {
		return none, err
	}
	out, err = next()
	p.put(l, l.broke(err))
	return out, err
}

func (c *client[T, Q, R, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	l, err := connect(ctx, c.pool, in.GetWatch())
	if err != nil {
		var none F
		return none, err
	}
	stream, err := either.NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
	if l == nil {
		return stream, err
	}
	if err != nil {
		c.pool.put(l, l.broke(err))
		return stream, err
	}
	// The stream ends with an error from Recv or with its context, whichever
	// the caller waits for.
	var once sync.Once
	end := func(err error) { once.Do(func() { c.pool.put(l, l.broke(err)) }) }
	stop := context.AfterFunc(ctx, func() { end(nil) })
	return either.RecvWith(stream, func() (R, error) {
		response, err := stream.Recv()
		if err != nil {
			stop()
			end(err)
		}
		return response, err
	}), nil
}

// connect returns nil if there is nothing to be done: the context has a
// connection already, or no URL.
func connect(ctx context.Context, p *pool, exclusive bool) (*link, error) {
	u := clienturlctx.ClientURL(ctx)
	if _, ok := clientconn.Load(ctx); ok || u == nil {
		return nil, nil
	}
	l, err := p.get(ctx, u, exclusive)
	if err != nil {
		return nil, err
	}
	clientconn.Store(ctx, l.cc)
	return l, nil
}
