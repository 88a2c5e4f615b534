// SPDX-License-Identifier: Apache-2.0

// Package adapters turns clients into servers and the other way round.
package adapters

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// NewClientToServer returns client as an element of a server chain: what client
// passes on goes to the next server.
func NewClientToServer(client networkservice.NetworkServiceClient) networkservice.NetworkServiceServer {
	return clientToServer{next.NewNetworkServiceClient(client, toNextServer{})}
}

type clientToServer struct {
	client networkservice.NetworkServiceClient
}

func (c clientToServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return c.client.Request(ctx, request)
}

func (c clientToServer) Close(ctx context.Context, connection *networkservice.Connection) (*emptypb.Empty, error) {
	return c.client.Close(ctx, connection)
}

type toNextServer struct{}

func (toNextServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return next.Server(ctx).Request(ctx, request)
}

func (toNextServer) Close(ctx context.Context, connection *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, connection)
}

// NewServerToClient returns server as an element of a client chain: what server
// passes on goes to the next client, with the options of the call.
func NewServerToClient(server networkservice.NetworkServiceServer) networkservice.NetworkServiceClient {
	return serverToClient{server}
}

type serverToClient struct {
	server networkservice.NetworkServiceServer
}

func (s serverToClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return next.NewNetworkServiceServer(s.server, toNextClient{opts}).Request(ctx, request)
}

func (s serverToClient) Close(ctx context.Context, connection *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.NewNetworkServiceServer(s.server, toNextClient{opts}).Close(ctx, connection)
}

type toNextClient struct {
	opts []grpc.CallOption
}

func (n toNextClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return next.Client(ctx).Request(ctx, request, n.opts...)
}

func (n toNextClient) Close(ctx context.Context, connection *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, connection, n.opts...)
}
