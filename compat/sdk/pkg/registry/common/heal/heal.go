// SPDX-License-Identifier: Apache-2.0

// Package heal keeps registrations and watches alive when the registry, or the
// nsmgr on the way to it, is lost and comes back.
package heal

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/extend"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

const (
	// interval is the pause between tries.
	interval = 200 * time.Millisecond
	// maxPause limits the pause between registrations when the watch ends again
	// and again at once: then the registry is there but cannot watch.
	maxPause = 10 * time.Second
	// confirmation is how long what was just registered may take to show up in
	// the watch. If it does not, the registry was lost in between.
	confirmation = 2 * time.Second
)

// NewNetworkServiceRegistryClient returns the element for network services.
func NewNetworkServiceRegistryClient(ctx context.Context) registry.NetworkServiceRegistryClient {
	return newClient[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv](ctx)
}

// NewNetworkServiceEndpointRegistryClient returns the element for endpoints. It
// needs a begin client before it. What is registered is watched for; when the
// watch breaks, or the registration is deleted without having been
// unregistered here, it is registered again. A Find that watches never ends
// before its context or ctx: the stream is opened again, and then what is
// registered is received again.
func NewNetworkServiceEndpointRegistryClient(ctx context.Context) registry.NetworkServiceEndpointRegistryClient {
	return newClient[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv](ctx)
}

func newClient[T either.Resource[T], Q either.Query, R either.Response, F either.RecvStream[R]](ctx context.Context) *client[T, Q, R, F] {
	return &client[T, Q, R, F]{ctx: ctx, watches: make(map[string]*watch)}
}

type client[T either.Resource[T], Q either.Query, R either.Response, F either.RecvStream[R]] struct {
	ctx context.Context

	mu      sync.Mutex
	watches map[string]*watch // of what is registered, by name
}

type watch struct{ stop context.CancelFunc }

func (c *client[T, Q, R, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	factory := begin.FromContext(ctx)
	next := either.NextClient[T, Q, F](ctx)
	registered, err := next.Register(ctx, in, opts...)
	if err != nil {
		return registered, err
	}
	name := either.NameOf(in, registered)

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watches[name] == nil {
		watchCtx, stop := context.WithCancel(c.ctx)
		c.watches[name] = &watch{stop}
		findCtx := extend.WithValuesFromContext(watchCtx, ctx)
		go keep(watchCtx, name, factory, func() error { return c.watch(findCtx, next, name, opts) })
	}
	return registered, nil
}

func (c *client[T, Q, R, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.mu.Lock()
	if w := c.watches[in.GetName()]; w != nil {
		w.stop()
		delete(c.watches, in.GetName())
	}
	c.mu.Unlock()
	return either.NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
}

// watch returns when the registration may be gone.
func (c *client[T, Q, R, F]) watch(ctx context.Context, next either.Client[T, Q, F], name string, opts []grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := next.Find(ctx, either.QueryByName[Q](name), opts...)
	if err != nil {
		return err
	}
	unconfirmed := time.AfterFunc(confirmation, cancel)
	defer unconfirmed.Stop()
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		unconfirmed.Stop()
		if response.GetDeleted() {
			return nil
		}
	}
}

// keep registers again each time that the watch ends, until ctx does.
func keep(ctx context.Context, name string, factory begin.EventFactory, watch func() error) {
	logger := log.FromContext(ctx)
	pause := time.Duration(0)
	for {
		start := time.Now()
		err := watch()
		if ctx.Err() != nil {
			return
		}
		logger.Warnf("registry lost %s (%v): register it again", name, err)
		if time.Since(start) > maxPause {
			pause = 0
		}
		if !sleep(ctx, pause) {
			return
		}
		for err := <-factory.Register(begin.CancelContext(ctx)); err != nil; err = <-factory.Register(begin.CancelContext(ctx)) {
			logger.Warnf("register %s again: %v", name, err)
			if !sleep(ctx, interval) {
				return
			}
		}
		pause = min(max(2*pause, interval), maxPause)
	}
}

// Find keeps a stream that watches open.
func (c *client[T, Q, R, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	next := either.NextClient[T, Q, F](ctx)
	if !in.GetWatch() {
		return next.Find(ctx, in, opts...)
	}
	findCtx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	context.AfterFunc(ctx, func() { stop() })

	stream, err := next.Find(findCtx, in, opts...)
	if err != nil {
		stop()
		cancel()
		return stream, err
	}
	current := stream
	return either.RecvWith(stream, func() (R, error) {
		for {
			response, err := current.Recv()
			if err == nil {
				return response, nil
			}
			for opened := false; !opened; {
				if !sleep(findCtx, interval) {
					return response, err
				}
				if again, findErr := next.Find(findCtx, in, opts...); findErr == nil {
					current, opened = again, true
				}
			}
		}
	}), nil
}

// sleep says whether ctx is still alive after the pause.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
