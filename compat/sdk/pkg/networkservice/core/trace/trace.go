// SPDX-License-Identifier: Apache-2.0

// Package trace follows requests through the elements of a chain. With tracing
// off (log.EnableTracing) it costs a few nanoseconds an element. Else, at level
// trace every element's changes are logged (package traceverbose), at other
// levels only where a hop begins and where errors come from (traceconcise).
package trace

import (
	"context"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/trace/traceconcise"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/trace/traceverbose"
)

func verbose() bool { return logrus.IsLevelEnabled(logrus.TraceLevel) }

// NewNetworkServiceClient returns traced with traces around it.
func NewNetworkServiceClient(traced networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	return &tracedClient{
		verbose: traceverbose.NewNetworkServiceClient(traced),
		concise: traceconcise.NewNetworkServiceClient(traced),
	}
}

type tracedClient struct {
	verbose, concise networkservice.NetworkServiceClient
}

func (t *tracedClient) choose() networkservice.NetworkServiceClient {
	if verbose() {
		return t.verbose
	}
	return t.concise
}

func (t *tracedClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return t.choose().Request(ctx, request, opts...)
}

func (t *tracedClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return t.choose().Close(ctx, conn, opts...)
}

// NewNetworkServiceServer returns traced with traces around it.
func NewNetworkServiceServer(traced networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	return &tracedServer{
		verbose: traceverbose.NewNetworkServiceServer(traced),
		concise: traceconcise.NewNetworkServiceServer(traced),
	}
}

type tracedServer struct {
	verbose, concise networkservice.NetworkServiceServer
}

func (t *tracedServer) choose() networkservice.NetworkServiceServer {
	if verbose() {
		return t.verbose
	}
	return t.concise
}

func (t *tracedServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return t.choose().Request(ctx, request)
}

func (t *tracedServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return t.choose().Close(ctx, conn)
}
