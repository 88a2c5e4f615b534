// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// NewServer returns the element that gives the servers behind it their map. It
// wants begin ahead of it, so that one connection is served by one call at a
// time. A connection whose first Request fails, or which is closed, loses it.
func NewServer() networkservice.NetworkServiceServer { return new(metadataServer) }

type metadataServer struct{ store }

func (s *metadataServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	m, fresh := s.load(id)
	conn, err := next.Server(ctx).Request(context.WithValue(ctx, serverKey{}, m), request)
	if err != nil && fresh {
		s.drop(id)
	}
	return conn, err
}

func (s *metadataServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	id := conn.GetId()
	m, _ := s.load(id)
	defer s.drop(id)
	return next.Server(ctx).Close(context.WithValue(ctx, serverKey{}, m), conn)
}
