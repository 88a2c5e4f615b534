// SPDX-License-Identifier: Apache-2.0

// Package upstreamrefresh repeats the Request of a connection when the next hop
// says REFRESH_REQUESTED.
package upstreamrefresh

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/nexthop"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type upstreamRefreshClient struct {
	ctx      context.Context
	notifier *localNotifier // nil unless connections notify each other
}

// Option configures NewClient.
type Option func(o *upstreamRefreshClient)

// WithLocalNotifications lets one connection have all others of the same client
// refreshed, through LoadLocalNotifier.
func WithLocalNotifications() Option {
	return func(u *upstreamRefreshClient) { u.notifier = new(localNotifier) }
}

// NewClient returns the element that refreshes on demand until Close, or until
// chainCtx ends. It needs begin and metadata ahead in the chain.
func NewClient(chainCtx context.Context, opts ...Option) networkservice.NetworkServiceClient {
	u := &upstreamRefreshClient{ctx: chainCtx}
	for _, opt := range opts {
		opt(u)
	}
	return u
}

type watchKey struct{}

// watch is a stream of events under way.
type watch struct {
	cc     grpc.ClientConnInterface
	ctx    context.Context
	cancel context.CancelFunc
}

func (u *upstreamRefreshClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	factory := begin.FromContext(ctx)
	if factory == nil {
		return nil, errors.New("upstream refresh: there is no begin ahead in the chain")
	}
	own := metadata.Map(ctx, true)
	if u.notifier != nil {
		own.Store(notifierKey{}, Notifier(u.notifier))
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if u.notifier != nil {
		u.notifier.factories.Store(conn.GetId(), factory)
	}
	if cc, ok := clientconn.Load(ctx); ok && conn.GetCurrentPathSegment() != nil {
		u.watch(own, conn, cc, factory)
	}
	return conn, nil
}

func (u *upstreamRefreshClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if old, ok := metadata.Map(ctx, true).LoadAndDelete(watchKey{}); ok {
		old.(*watch).cancel()
	}
	if u.notifier != nil {
		u.notifier.factories.Delete(conn.GetId())
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func (u *upstreamRefreshClient) watch(own *sync.Map, conn *networkservice.Connection, cc grpc.ClientConnInterface, factory begin.EventFactory) {
	if value, ok := own.Load(watchKey{}); ok {
		old := value.(*watch)
		if old.cc == cc && old.ctx.Err() == nil {
			return
		}
		old.cancel()
	}
	ctx, cancel := context.WithCancel(u.ctx)
	own.Store(watchKey{}, &watch{cc: cc, ctx: ctx, cancel: cancel})
	segment := conn.GetCurrentPathSegment().Clone()
	go func() {
		defer cancel()
		refreshOnDemand(ctx, cc, segment, factory)
	}()
}

// refreshOnDemand ends when the stream does: heal, or the next refresh, which
// starts another, cares for a lost next hop.
func refreshOnDemand(ctx context.Context, cc grpc.ClientConnInterface, segment *networkservice.PathSegment, factory begin.EventFactory) {
	stream, err := nexthop.Open(ctx, cc, segment)
	for err == nil {
		var events []nexthop.Event
		events, err = stream.Next()
		for _, event := range events {
			if event.Type == networkservice.ConnectionEventType_DELETE ||
				event.Connection.GetState() != networkservice.State_REFRESH_REQUESTED {
				continue
			}
			if requestErr := <-factory.Request(begin.CancelContext(ctx)); requestErr != nil {
				log.FromContext(ctx).Warnf("upstream refresh: connection %s: %v", segment.GetId(), requestErr)
			}
		}
	}
}
