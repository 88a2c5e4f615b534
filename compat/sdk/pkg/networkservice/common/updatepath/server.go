// SPDX-License-Identifier: Apache-2.0

package updatepath

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type updatePathServer struct{ name string }

// NewServer returns the element for the server half of the hop called name.
func NewServer(name string) networkservice.NetworkServiceServer {
	return &updatePathServer{name: name}
}

func (s *updatePathServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if request.GetConnection() == nil {
		request.Connection = new(networkservice.Connection)
	}
	index, err := enter(request.GetConnection(), s.name)
	if err != nil {
		return nil, err
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		leave(request.GetConnection(), index)
		return nil, err
	}
	leave(conn, index)
	return conn, nil
}

func (s *updatePathServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	index, err := enter(conn, s.name)
	if err != nil {
		return nil, err
	}
	defer leave(conn, index)
	return next.Server(ctx).Close(ctx, conn)
}
