// SPDX-License-Identifier: Apache-2.0

// Package clienturl says by URL which hop is next.
package clienturl

import (
	"context"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

func with(ctx context.Context, u *url.URL) context.Context {
	if u == nil {
		return ctx
	}
	return clienturlctx.WithClientURL(ctx, u)
}

type clientURLClient struct{ u *url.URL }

// NewClient returns the element that makes the hop at u the next one. With nil
// it does nothing.
func NewClient(u *url.URL) networkservice.NetworkServiceClient { return &clientURLClient{u: u} }

func (c *clientURLClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	ctx = with(ctx, c.u)
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (c *clientURLClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	ctx = with(ctx, c.u)
	return next.Client(ctx).Close(ctx, conn, opts...)
}

type clientURLServer struct{ u *url.URL }

// NewServer is NewClient for a server chain whose client half follows.
func NewServer(u *url.URL) networkservice.NetworkServiceServer { return &clientURLServer{u: u} }

func (s *clientURLServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	ctx = with(ctx, s.u)
	return next.Server(ctx).Request(ctx, request)
}

func (s *clientURLServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	ctx = with(ctx, s.u)
	return next.Server(ctx).Close(ctx, conn)
}
