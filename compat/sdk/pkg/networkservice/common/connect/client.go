// SPDX-License-Identifier: Apache-2.0

// Package connect joins hops: its client calls the next hop over gRPC, its
// server runs a client chain inside a server chain.
package connect

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
)

type connectClient struct{}

// NewClient returns the end of a client chain: it calls the next hop over the
// gRPC connection that an element ahead, such as dial, left in clientconn.
// Close without one succeeds, since there is nobody to tell.
func NewClient() networkservice.NetworkServiceClient { return connectClient{} }

func (connectClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	cc, ok := clientconn.Load(ctx)
	if !ok {
		return nil, errors.New("connect: there is no gRPC connection to the next hop")
	}
	return networkservice.NewNetworkServiceClient(cc).Request(ctx, request, opts...)
}

func (connectClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	cc, ok := clientconn.Load(ctx)
	if !ok {
		return new(emptypb.Empty), nil
	}
	return networkservice.NewNetworkServiceClient(cc).Close(ctx, conn, opts...)
}
