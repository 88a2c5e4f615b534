// SPDX-License-Identifier: Apache-2.0

// Package refresh repeats the Request of a connection well before the tokens in
// its path expire.
package refresh

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// retryInterval is the pause after a refresh that failed. It is also the
// shortest time to the next refresh, for tokens that have expired already.
const retryInterval = 200 * time.Millisecond

type refreshClient struct{ ctx context.Context }

// NewClient returns the element that refreshes until Close, or until ctx ends.
// It needs begin and metadata ahead in the chain.
func NewClient(ctx context.Context) networkservice.NetworkServiceClient {
	return &refreshClient{ctx: ctx}
}

type cancelKey struct{}

func (r *refreshClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	factory := begin.FromContext(ctx)
	if factory == nil {
		return nil, errors.New("refresh: there is no begin ahead in the chain")
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	r.stop(ctx)
	if after, ok := interval(clock.FromContext(r.ctx), conn.GetPath()); ok {
		loopCtx, cancel := context.WithCancel(r.ctx)
		metadata.Map(ctx, true).Store(cancelKey{}, cancel)
		// The timer is made before Request returns, so that the time of the
		// refresh does not depend on when the goroutine gets to run.
		timer := clock.FromContext(r.ctx).Timer(after)
		go refresh(loopCtx, conn.GetId(), factory, timer)
	}
	return conn, nil
}

func (r *refreshClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	r.stop(ctx)
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func (r *refreshClient) stop(ctx context.Context) {
	if cancel, ok := metadata.Map(ctx, true).LoadAndDelete(cancelKey{}); ok {
		cancel.(context.CancelFunc)()
	}
}

// refresh ends with the first Request that succeeds, which has then started the
// next one.
func refresh(ctx context.Context, id string, factory begin.EventFactory, timer clock.Timer) {
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		err := <-factory.Request(begin.CancelContext(ctx))
		if err == nil {
			return
		}
		log.FromContext(ctx).Warnf("refresh: connection %s: %v", id, err)
		timer.Reset(retryInterval)
	}
}

// interval returns the time until the next refresh: a share of the time that
// the first token to expire has left. Hops nearer to the client refresh
// earlier, so that those behind have nothing left to do. There is no refresh
// for a path without expiries.
func interval(c clock.Clock, path *networkservice.Path) (time.Duration, bool) {
	var first time.Time
	for _, segment := range path.GetPathSegments() {
		if segment.GetExpires() == nil {
			continue
		}
		if at := segment.GetExpires().AsTime(); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if first.IsZero() {
		return 0, false
	}
	share := 1. / 3.
	if hops := len(path.GetPathSegments()); hops > 1 {
		share = 0.2 + 0.2*float64(path.GetIndex())/float64(hops)
	}
	return max(time.Duration(float64(c.Until(first))*share), retryInterval), true
}
