// SPDX-License-Identifier: Apache-2.0

package traceverbose

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/typeutils"
)

type names struct{ request, close string }

func namesOf(element interface{}) names {
	return names{
		request: typeutils.GetFuncName(element, "Request"),
		close:   typeutils.GetFuncName(element, "Close"),
	}
}

// NewNetworkServiceClient returns traced with verbose traces around it.
func NewNetworkServiceClient(traced networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	return &client{traced: traced, names: namesOf(traced)}
}

type client struct {
	traced networkservice.NetworkServiceClient
	names  names
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if !enabled(ctx) {
		return c.traced.Request(ctx, request, opts...)
	}
	return call(ctx, c.names.request, request, func(ctx context.Context) (*networkservice.Connection, error) {
		return c.traced.Request(ctx, request, opts...)
	})
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if !enabled(ctx) {
		return c.traced.Close(ctx, conn, opts...)
	}
	return call(ctx, c.names.close, conn, func(ctx context.Context) (*emptypb.Empty, error) {
		return c.traced.Close(ctx, conn, opts...)
	})
}

// NewNetworkServiceServer returns traced with verbose traces around it.
func NewNetworkServiceServer(traced networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	return &server{traced: traced, names: namesOf(traced)}
}

type server struct {
	traced networkservice.NetworkServiceServer
	names  names
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if !enabled(ctx) {
		return s.traced.Request(ctx, request)
	}
	return call(ctx, s.names.request, request, func(ctx context.Context) (*networkservice.Connection, error) {
		return s.traced.Request(ctx, request)
	})
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if !enabled(ctx) {
		return s.traced.Close(ctx, conn)
	}
	return call(ctx, s.names.close, conn, func(ctx context.Context) (*emptypb.Empty, error) {
		return s.traced.Close(ctx, conn)
	})
}
