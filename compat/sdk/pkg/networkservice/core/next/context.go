// SPDX-License-Identifier: Apache-2.0

package next

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

type (
	serverKey struct{}
	clientKey struct{}
)

func withServer(ctx context.Context, next networkservice.NetworkServiceServer) context.Context {
	return context.WithValue(ctx, serverKey{}, next)
}

func withClient(ctx context.Context, next networkservice.NetworkServiceClient) context.Context {
	return context.WithValue(ctx, clientKey{}, next)
}

// Server returns the server behind the one that got ctx, never nil: behind the
// last one is a server that returns the request's connection.
func Server(ctx context.Context) networkservice.NetworkServiceServer {
	if server, ok := ctx.Value(serverKey{}).(networkservice.NetworkServiceServer); ok {
		return server
	}
	return tailServer{}
}

// Client returns the client behind the one that got ctx, never nil: behind the
// last one is a client that returns the request's connection.
func Client(ctx context.Context) networkservice.NetworkServiceClient {
	if client, ok := ctx.Value(clientKey{}).(networkservice.NetworkServiceClient); ok {
		return client
	}
	return tailClient{}
}
