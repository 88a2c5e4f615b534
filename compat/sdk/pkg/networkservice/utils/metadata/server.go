// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// NewServer returns the element that gives those behind it their maps. It wants
// begin ahead of it, so that a connection is served by one call at a time. A
// connection whose first Request fails, or which is closed, loses its maps.
func NewServer() networkservice.NetworkServiceServer { return new(metadataServer) }

type metadataServer struct{ store }

func (s *metadataServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	ctx, fresh := s.enter(ctx, id)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil && fresh {
		s.drop(id)
	}
	return conn, err
}

func (s *metadataServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	id := conn.GetId()
	ctx, _ = s.enter(ctx, id)
	defer s.drop(id)
	return next.Server(ctx).Close(ctx, conn)
}
