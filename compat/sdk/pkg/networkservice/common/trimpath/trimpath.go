// SPDX-License-Identifier: Apache-2.0

// Package trimpath cuts what follows the last hop from the path. A hop is the
// last if its server half runs no client half; what follows it then is left
// over from an earlier, longer path.
package trimpath

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

// passedKey is set by the client half in its metadata.
type passedKey struct{}

type trimPathServer struct{}

// NewServer returns the element that trims.
func NewServer() networkservice.NetworkServiceServer { return trimPathServer{} }

func (trimPathServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	metadata.Map(ctx, true).Delete(passedKey{})
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if _, passed := metadata.Map(ctx, true).Load(passedKey{}); !passed && conn.GetPath() != nil {
		if end := int(conn.GetPath().GetIndex()) + 1; end < len(conn.GetPath().GetPathSegments()) {
			conn.Path.PathSegments = conn.GetPath().GetPathSegments()[:end]
		}
	}
	return conn, nil
}

func (trimPathServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

type trimPathClient struct{}

// NewClient returns the element that keeps the server half from trimming.
func NewClient() networkservice.NetworkServiceClient { return trimPathClient{} }

func (trimPathClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	metadata.Map(ctx, true).Store(passedKey{}, struct{}{})
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (trimPathClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
