// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"context"
	"maps"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// WithChainUnaryInterceptor lets a call have several per-RPC credentials: of several
// grpc.PerRPCCredentials options gRPC itself would honour the last one only.
func WithChainUnaryInterceptor() grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return invoker(ctx, method, req, reply, cc, combine(opts)...)
	})
}

// WithChainStreamInterceptor is WithChainUnaryInterceptor for streams.
func WithChainStreamInterceptor() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return streamer(ctx, desc, cc, method, combine(opts)...)
	})
}

func combine(opts []grpc.CallOption) []grpc.CallOption {
	var all allOf
	combined := make([]grpc.CallOption, 0, len(opts))
	for _, opt := range opts {
		if creds, ok := opt.(grpc.PerRPCCredsCallOption); ok {
			all = append(all, creds.Creds)
			continue
		}
		combined = append(combined, opt)
	}
	if len(all) > 0 {
		combined = append(combined, grpc.PerRPCCredentials(all))
	}
	return combined
}

// allOf is several credentials at once; later ones win where metadata keys clash.
type allOf []credentials.PerRPCCredentials

func (a allOf) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	all := make(map[string]string)
	for _, creds := range a {
		metadata, err := creds.GetRequestMetadata(ctx, uri...)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, metadata)
	}
	return all, nil
}

func (a allOf) RequireTransportSecurity() bool {
	for _, creds := range a {
		if creds.RequireTransportSecurity() {
			return true
		}
	}
	return false
}
