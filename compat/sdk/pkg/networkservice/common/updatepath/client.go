// SPDX-License-Identifier: Apache-2.0

package updatepath

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type updatePathClient struct{ name string }

// NewClient returns the element for the client half of the hop called name.
func NewClient(name string) networkservice.NetworkServiceClient {
	return &updatePathClient{name: name}
}

func (c *updatePathClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if request.GetConnection() == nil {
		request.Connection = new(networkservice.Connection)
	}
	index, err := enter(request.GetConnection(), c.name)
	if err != nil {
		return nil, err
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		leave(request.GetConnection(), index)
		return nil, err
	}
	leave(conn, index)
	return conn, nil
}

func (c *updatePathClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	index, err := enter(conn, c.name)
	if err != nil {
		return nil, err
	}
	defer leave(conn, index)
	return next.Client(ctx).Close(ctx, conn, opts...)
}
