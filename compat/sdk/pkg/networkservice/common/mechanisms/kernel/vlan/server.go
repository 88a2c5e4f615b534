// SPDX-License-Identifier: Apache-2.0

// Package vlan gives each connection with a KERNEL mechanism that supports it
// a VLAN id of its own.
package vlan

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// The ids of IEEE 802.1Q that a connection may have.
const (
	first = 1
	last  = 4094
)

var errExhausted = errors.New("choose VLAN id: all are taken")

type server struct {
	mu    sync.Mutex
	taken [last + 1]bool
}

// NewServer returns the element. The lowest free id is given, and taken back
// when the connection closes.
func NewServer() networkservice.NetworkServiceServer {
	return new(server)
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := kernelmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil || !mechanism.SupportsVLAN() || mechanism.GetVLAN() != 0 {
		return next.Server(ctx).Request(ctx, request)
	}
	id, err := s.take()
	if err != nil {
		return nil, err
	}
	mechanism.SetVLAN(id)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		s.free(id)
	}
	return conn, err
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if mechanism := kernelmech.ToMechanism(conn.GetMechanism()); mechanism != nil && mechanism.SupportsVLAN() {
		s.free(mechanism.GetVLAN())
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (s *server) take() (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := first; id <= last; id++ {
		if !s.taken[id] {
			s.taken[id] = true
			return uint32(id), nil
		}
	}
	return 0, errExhausted
}

func (s *server) free(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id <= last {
		s.taken[id] = false
	}
}
