// SPDX-License-Identifier: Apache-2.0

package begin

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type beginClient struct {
	table    table
	reselect ReselectFunc
}

// NewClient returns the begin of a client chain. A repeated Request is applied
// as a change: fields that are as the last reply left them take the values that
// the connection has by now.
func NewClient(opts ...ClientOption) networkservice.NetworkServiceClient {
	o := clientOption{reselect: DefaultReselectFunc}
	for _, opt := range opts {
		opt(&o)
	}
	return &beginClient{reselect: o.reselect}
}

func (b *beginClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	if id == "" {
		return nil, errNoID
	}
	c, err := b.table.enter(ctx, id, true)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	c.reselect = b.reselect
	request = request.Clone()
	request.Connection = merge(c.returned, request.GetConnection(), c.request.GetConnection())
	return c.callRequest(ctx, request, clients{next.Client(ctx), opts})
}

func (b *beginClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c, err := b.table.enter(ctx, conn.GetId(), false)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return new(emptypb.Empty), nil
	}
	defer c.leave()
	c.rest = clients{next.Client(ctx), opts}
	return new(emptypb.Empty), c.callClose(ctx)
}

type clients struct {
	next networkservice.NetworkServiceClient
	opts []grpc.CallOption
}

func (c clients) request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return c.next.Request(ctx, request, c.opts...)
}

func (c clients) close(ctx context.Context, conn *networkservice.Connection) error {
	_, err := c.next.Close(ctx, conn, c.opts...)
	return err
}
