// SPDX-License-Identifier: Apache-2.0

// Package tracing has gRPC pass OpenTelemetry's trace context along.
package tracing

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
)

// WithTracing returns the options of servers: none without OpenTelemetry.
func WithTracing() []grpc.ServerOption {
	if !opentelemetry.IsEnabled() {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler())}
}

// WithTracingDial returns the options of clients. They also hand on whether the
// call that we serve asks to be traced.
func WithTracingDial() []grpc.DialOption {
	opts := []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(passUnary),
		grpc.WithChainStreamInterceptor(passStream),
	}
	if opentelemetry.IsEnabled() {
		opts = append(opts, grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
	}
	return opts
}

func pass(ctx context.Context) context.Context {
	if grpcutils.TraceFromContext(ctx) == grpcutils.TraceUndefined {
		return ctx
	}
	return grpcutils.PassTraceToOutgoing(ctx)
}

func passUnary(ctx context.Context, method string, req, reply interface{}, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoker(pass(ctx), method, req, reply, cc, opts...)
}

func passStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return streamer(pass(ctx), desc, cc, method, opts...)
}
