// SPDX-License-Identifier: Apache-2.0

// Package retry repeats calls until they succeed.
package retry

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type retryClient struct {
	client     networkservice.NetworkServiceClient
	tryTimeout time.Duration
	interval   time.Duration
}

// Option configures NewClient.
type Option func(*retryClient)

// WithTryTimeout sets how long one try may take: 15 s unless set.
func WithTryTimeout(tryTimeout time.Duration) Option {
	return func(r *retryClient) { r.tryTimeout = tryTimeout }
}

// WithInterval sets the pause between tries: 200 ms unless set.
func WithInterval(interval time.Duration) Option {
	return func(r *retryClient) { r.interval = interval }
}

// NewClient returns a client that repeats each call to client until it succeeds
// or its context ends. It is not an element of a chain: client is the chain.
func NewClient(client networkservice.NetworkServiceClient, opts ...Option) networkservice.NetworkServiceClient {
	r := &retryClient{client: client, tryTimeout: 15 * time.Second, interval: 200 * time.Millisecond}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

func (r *retryClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return try(ctx, r, "request", func(ctx context.Context) (*networkservice.Connection, error) {
		return r.client.Request(ctx, request.Clone(), opts...)
	})
}

func (r *retryClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return try(ctx, r, "close", func(ctx context.Context) (*emptypb.Empty, error) {
		return r.client.Close(ctx, conn.Clone(), opts...)
	})
}

func try[T any](ctx context.Context, r *retryClient, what string, call func(context.Context) (*T, error)) (*T, error) {
	c := clock.FromContext(ctx)
	var last error
	for ctx.Err() == nil {
		tryCtx, cancel := c.WithTimeout(ctx, r.tryTimeout)
		reply, err := call(tryCtx)
		cancel()
		if err == nil {
			return reply, nil
		}
		last = err
		log.FromContext(ctx).Warnf("retry: %s failed, next try in %v: %v", what, r.interval, err)
		pause := c.Timer(r.interval)
		select {
		case <-pause.C():
		case <-ctx.Done():
			pause.Stop()
		}
	}
	if last == nil {
		return nil, fmt.Errorf("retry: %s: %w", what, ctx.Err())
	}
	return nil, fmt.Errorf("retry: %s: %w, last try: %w", what, ctx.Err(), last)
}
