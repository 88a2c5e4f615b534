// SPDX-License-Identifier: Apache-2.0

package connect

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

type connectServer struct {
	client networkservice.NetworkServiceClient
	opts   []grpc.CallOption
}

// NewServer returns the element that calls client with callOptions and then
// goes on along the server chain with the connection that client returned. When
// the rest of the server chain fails, client is closed again.
func NewServer(client networkservice.NetworkServiceClient, callOptions ...grpc.CallOption) networkservice.NetworkServiceServer {
	return &connectServer{
		client: next.NewNetworkServiceClient(client, end{}),
		opts:   callOptions,
	}
}

func (c *connectServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	postponed := postpone.ContextWithValues(ctx)
	clientConn, err := c.client.Request(ctx, request.Clone(), c.opts...)
	if err != nil {
		return nil, err
	}
	request.Connection = clientConn
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		closeCtx, cancel := postponed()
		defer cancel()
		if _, closeErr := c.client.Close(closeCtx, clientConn, c.opts...); closeErr != nil {
			log.FromContext(ctx).Warnf("connect: close after a failed request: %v", closeErr)
		}
		return nil, err
	}
	return conn, nil
}

// Close closes the rest of the server chain even if the next hop cannot be
// told; it is the next hop's error that is returned then.
func (c *connectServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	_, clientErr := c.client.Close(ctx, conn.Clone(), c.opts...)
	_, err := next.Server(ctx).Close(ctx, conn)
	if clientErr != nil {
		err = clientErr
	}
	return new(emptypb.Empty), err
}

// end keeps a client chain from going on with whatever chain ctx comes from.
type end struct{}

func (end) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return request.GetConnection(), nil
}

func (end) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}
