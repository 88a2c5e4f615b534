// SPDX-License-Identifier: Apache-2.0

// Package cleanup closes all connections of a client chain when its process
// ends.
package cleanup

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type options struct {
	local bool
	done  chan struct{}
}

// Option configures NewClient.
type Option func(*options)

// WithoutGRPCCall keeps the clean-up to this process: the next hop is not told.
func WithoutGRPCCall() Option { return func(o *options) { o.local = true } }

// WithDoneChan has doneCh closed when all connections have been closed.
func WithDoneChan(doneCh chan struct{}) Option { return func(o *options) { o.done = doneCh } }

type cleanupClient struct {
	ctx     context.Context
	options options

	mu        sync.Mutex
	factories map[string]begin.EventFactory
}

// NewClient returns the element that closes its connections when ctx ends. It
// needs begin ahead in the chain.
func NewClient(ctx context.Context, opts ...Option) networkservice.NetworkServiceClient {
	c := &cleanupClient{ctx: ctx, factories: make(map[string]begin.EventFactory)}
	for _, opt := range opts {
		opt(&c.options)
	}
	context.AfterFunc(ctx, c.closeAll)
	return c
}

func (c *cleanupClient) closeAll() {
	c.mu.Lock()
	closing := make(map[string]<-chan error, len(c.factories))
	for id, factory := range c.factories {
		closing[id] = factory.Close()
	}
	c.mu.Unlock()
	for id, errCh := range closing {
		if err := <-errCh; err != nil {
			log.FromContext(c.ctx).Warnf("cleanup: close connection %s: %v", id, err)
		}
	}
	if c.options.done != nil {
		close(c.options.done)
	}
}

func (c *cleanupClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if factory := begin.FromContext(ctx); factory != nil {
		c.mu.Lock()
		c.factories[conn.GetId()] = factory
		late := c.ctx.Err() != nil
		c.mu.Unlock()
		if late {
			factory.Close() // closeAll may have run without it
		}
	}
	return conn, nil
}

func (c *cleanupClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.mu.Lock()
	delete(c.factories, conn.GetId())
	c.mu.Unlock()
	if c.options.local && c.ctx.Err() != nil {
		clientconn.Delete(ctx)
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}
