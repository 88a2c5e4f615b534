// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// NewClient is NewServer for the clients behind it.
func NewClient() networkservice.NetworkServiceClient { return new(metadataClient) }

type metadataClient struct{ store }

func (c *metadataClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	m, fresh := c.load(id)
	conn, err := next.Client(ctx).Request(context.WithValue(ctx, clientKey{}, m), request, opts...)
	if err != nil && fresh {
		c.drop(id)
	}
	return conn, err
}

func (c *metadataClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	id := conn.GetId()
	m, _ := c.load(id)
	defer c.drop(id)
	return next.Client(ctx).Close(context.WithValue(ctx, clientKey{}, m), conn, opts...)
}
