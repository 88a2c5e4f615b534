// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// NewClient is NewServer for a client chain. Inside a server chain that has
// metadata it does nothing, since the maps there serve both halves.
func NewClient() networkservice.NetworkServiceClient { return new(metadataClient) }

type metadataClient struct{ store }

func shared(ctx context.Context) bool { return ctx.Value(contextKey{}) != nil }

func (c *metadataClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if shared(ctx) {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	id := request.GetConnection().GetId()
	ctx, fresh := c.enter(ctx, id)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil && fresh {
		c.drop(id)
	}
	return conn, err
}

func (c *metadataClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if shared(ctx) {
		return next.Client(ctx).Close(ctx, conn, opts...)
	}
	id := conn.GetId()
	ctx, _ = c.enter(ctx, id)
	defer c.drop(id)
	return next.Client(ctx).Close(ctx, conn, opts...)
}
