// SPDX-License-Identifier: Apache-2.0

package next_test

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// options counts the options of calls.
type options struct{ seen int }

func (o *options) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	o.seen += len(opts)
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (o *options) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	o.seen += len(opts)
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// passing is the least that an element does.
type passing struct{}

func (passing) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return next.Server(ctx).Request(ctx, request)
}

func (passing) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
