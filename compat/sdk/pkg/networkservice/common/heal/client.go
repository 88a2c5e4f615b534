// SPDX-License-Identifier: Apache-2.0

// Package heal brings a connection back when it breaks.
//
// The control plane is lost when the next hop reports the connection DOWN or
// the stream of its events breaks. Without a liveness check another endpoint is
// selected then. With one it is the data plane that decides: while it works the
// Request is repeated as it is, and once it does not, another endpoint is
// selected; so it is when the data plane breaks under a sound control plane.
// Either is repeated until it succeeds.
package heal

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// LivenessCheck says whether traffic passes through conn. It answers before
// deadlineCtx ends.
type LivenessCheck func(deadlineCtx context.Context, conn *networkservice.Connection) bool

type options struct {
	check    LivenessCheck
	interval time.Duration
	timeout  time.Duration
}

// Option configures NewClient.
type Option func(o *options)

// WithLivenessCheck sets how to tell whether the data plane works.
func WithLivenessCheck(livenessCheck LivenessCheck) Option {
	return func(o *options) { o.check = livenessCheck }
}

// WithLivenessCheckInterval sets the time between checks: 200 ms unless set.
func WithLivenessCheckInterval(livenessCheckInterval time.Duration) Option {
	return func(o *options) { o.interval = livenessCheckInterval }
}

// WithLivenessCheckTimeout sets how long a check may take: 100 ms unless set.
func WithLivenessCheckTimeout(livenessCheckTimeout time.Duration) Option {
	return func(o *options) { o.timeout = livenessCheckTimeout }
}

type healClient struct {
	ctx     context.Context
	options options

	mu       sync.Mutex
	watchers map[string]*watcher // by connection id
}

// NewClient returns the element that heals until Close, or until chainCtx ends.
// It needs begin and metadata ahead in the chain.
func NewClient(chainCtx context.Context, opts ...Option) networkservice.NetworkServiceClient {
	h := &healClient{
		ctx:      chainCtx,
		options:  options{interval: 200 * time.Millisecond, timeout: 100 * time.Millisecond},
		watchers: make(map[string]*watcher),
	}
	for _, opt := range opts {
		opt(&h.options)
	}
	return h
}

func (h *healClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	factory := begin.FromContext(ctx)
	if factory == nil {
		return nil, errors.New("heal: there is no begin ahead in the chain")
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if cc, ok := clientconn.Load(ctx); ok && conn.GetCurrentPathSegment() != nil {
		h.watch(conn.Clone(), cc, factory)
	}
	return conn, nil
}

func (h *healClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	h.mu.Lock()
	// The watcher itself causes the Close that comes before another endpoint
	// is selected, and must survive it.
	if w := h.watchers[conn.GetId()]; w != nil && !w.reselecting.Load() {
		delete(h.watchers, conn.GetId())
		w.cancel()
	}
	h.mu.Unlock()
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// watch sees to it that conn is watched over cc.
func (h *healClient) watch(conn *networkservice.Connection, cc grpc.ClientConnInterface, factory begin.EventFactory) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := conn.GetId()
	if w := h.watchers[id]; w != nil {
		if w.update(conn, cc) {
			return
		}
		w.cancel()
	}
	w := newWatcher(h, conn, cc, factory)
	h.watchers[id] = w
	go func() {
		defer w.cancel()
		w.run()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.watchers[id] == w {
			delete(h.watchers, id)
		}
	}()
}
