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
	return &client[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv]{newPool(chainCtx, opts)}
}

// NewNetworkServiceEndpointRegistryClient returns the element for endpoints.
// Connections are shared between calls and closed when chainCtx ends.
func NewNetworkServiceEndpointRegistryClient(chainCtx context.Context, opts ...Option) registry.NetworkServiceEndpointRegistryClient {
	return &client[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv]{newPool(chainCtx, opts)}
}

func newPool(chainCtx context.Context, opts []Option) *pool {
	o := new(option)
	for _, opt := range opts {
		opt(o)
	}
	p := &pool{timeout: o.timeout, options: o.options, byURL: make(map[string]*shared)}
	context.AfterFunc(chainCtx, p.close)
	return p
}

type client[T, Q, R any, F either.RecvStream[R]] struct {
	pool *pool
}

func (c *client[T, Q, R, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	end, err := c.connect(ctx)
	if err != nil {
		var none T
		return none, err
	}
	out, err := either.NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
	end(err)
	return out, err
}

func (c *client[T, Q, R, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	end, err := c.connect(ctx)
	if err != nil {
		var none F
		return none, err
	}
	stream, err := either.NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
	if err != nil {
		end(err)
		return stream, err
	}
	// The stream ends with an error from Recv or with its context, whichever
	// the caller waits for.
	var once sync.Once
	stop := context.AfterFunc(ctx, func() { once.Do(func() { end(nil) }) })
	return either.RecvWith(stream, func() (R, error) {
		response, err := stream.Recv()
		if err != nil {
			stop()
			once.Do(func() { end(err) })
		}
		return response, err
	}), nil
}

func (c *client[T, Q, R, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	end, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	out, err := either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
	end(err)
	return out, err
}

// connect leaves alone a connection that the context has already, and does
// nothing without a URL. The function it returns ends the use of the connection.
func (c *client[T, Q, R, F]) connect(ctx context.Context) (end func(error), err error) {
	u := clienturlctx.ClientURL(ctx)
	if _, ok := clientconn.Load(ctx); ok || u == nil {
		return func(error) {}, nil
	}
	conn, err := c.pool.get(ctx, u)
	if err != nil {
		return nil, err
	}
	clientconn.Store(ctx, conn.cc)
	return func(err error) { c.pool.put(conn, conn.broke(err)) }, nil
}
