// SPDX-License-Identifier: Apache-2.0

// Package timeout closes connections that their client no longer refreshes.
package timeout

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type timeoutServer struct{ ctx context.Context }

// NewServer returns the element that closes a connection when the token of the
// hop before ours expires, less the time that a Request has: so that the Close
// is through before the token is of no use. Each successful Request puts it
// off. It stops when ctx ends. It needs begin and metadata ahead in the chain.
func NewServer(ctx context.Context) networkservice.NetworkServiceServer {
	return &timeoutServer{ctx: ctx}
}

type stopKey struct{}

func (t *timeoutServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	c := clock.FromContext(t.ctx)
	expires := request.GetConnection().GetPrevPathSegment().GetExpires()
	if expires == nil {
		return nil, fmt.Errorf("timeout: the segment before ours in the path of connection %s has no expiry",
			request.GetConnection().GetId())
	}
	at := expires.AsTime()
	if deadline, ok := ctx.Deadline(); ok {
		at = at.Add(-c.Until(deadline))
	}
	factory := begin.FromContext(ctx)
	if factory == nil {
		return nil, errors.New("timeout: there is no begin ahead in the chain")
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	t.stop(ctx)
	timerCtx, cancel := context.WithCancel(t.ctx)
	id := conn.GetId()
	timer := c.AfterFunc(c.Until(at), func() {
		if timerCtx.Err() != nil {
			return
		}
		log.FromContext(t.ctx).Warnf("timeout: close connection %s: its client has not refreshed it", id)
		if err := <-factory.Close(begin.CancelContext(timerCtx)); err != nil {
			log.FromContext(t.ctx).Warnf("timeout: close connection %s: %v", id, err)
		}
	})
	released := context.AfterFunc(t.ctx, func() { timer.Stop() })
	metadata.Map(ctx, false).Store(stopKey{}, sync.OnceFunc(func() {
		cancel()
		released()
		timer.Stop()
	}))
	return conn, nil
}

func (t *timeoutServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	t.stop(ctx)
	return next.Server(ctx).Close(ctx, conn)
}

func (t *timeoutServer) stop(ctx context.Context) {
	if stop, ok := metadata.Map(ctx, false).LoadAndDelete(stopKey{}); ok {
		stop.(func())()
	}
}
