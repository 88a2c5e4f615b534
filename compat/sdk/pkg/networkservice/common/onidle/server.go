// SPDX-License-Identifier: Apache-2.0

// Package onidle tells an endpoint when nobody has used it for some time.
package onidle

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
)

type onIdleServer struct {
	ctx     context.Context
	notify  func()
	timeout time.Duration

	mu      sync.Mutex
	timer   clock.Timer // nil while the server is in use
	waits   int         // how many timers there have been
	active  map[string]struct{}
	expired bool
}

// NewServer returns the element that calls notify, once, when there has been no
// connection for timeout; the time runs from the start and from each Close of
// the last connection. New connections are refused from then on.
func NewServer(ctx context.Context, notify func(), timeout time.Duration) networkservice.NetworkServiceServer {
	s := &onIdleServer{ctx: ctx, notify: notify, timeout: timeout, active: make(map[string]struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait()
	context.AfterFunc(ctx, s.stop)
	return s
}

// wait starts the timer. The lock is held.
func (s *onIdleServer) wait() {
	if s.timer == nil && !s.expired && s.ctx.Err() == nil {
		s.waits++
		wait := s.waits
		s.timer = clock.FromContext(s.ctx).AfterFunc(s.timeout, func() { s.expire(wait) })
	}
}

// expire ends the given wait, unless it was cut short meanwhile.
func (s *onIdleServer) expire(wait int) {
	s.mu.Lock()
	idle := s.timer != nil && s.waits == wait && !s.expired && s.ctx.Err() == nil
	if idle {
		s.expired = true
	}
	s.mu.Unlock()
	if idle {
		s.notify()
	}
}

func (s *onIdleServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// enter notes that id is in use and says whether it was already.
func (s *onIdleServer) enter(id string) (known bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expired {
		return false, errors.New("on idle: the endpoint has been idle for too long and is going away")
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	_, known = s.active[id]
	s.active[id] = struct{}{}
	return known, nil
}

func (s *onIdleServer) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, id)
	if len(s.active) == 0 {
		s.wait()
	}
}

func (s *onIdleServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	known, err := s.enter(id)
	if err != nil {
		return nil, err
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil && !known {
		s.leave(id)
	}
	return conn, err
}

func (s *onIdleServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	defer s.leave(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}
