// SPDX-License-Identifier: Apache-2.0

package recvfd

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type client struct {
	files fdpass.Table // by connection id
}

// NewClient returns a client that receives the file of the mechanism in the
// answer. It waits for it until the request's deadline. It is held, under the
// same path, until the connection closes.
func NewClient() networkservice.NetworkServiceClient {
	return new(client)
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	credentials := grpcfd.PerRPCCredentials(grpcfd.PerRPCCredentialsFromCallOptions(opts...))
	opts = append(append([]grpc.CallOption(nil), opts...), grpc.PerRPCCredentials(credentials))
	from, ok := grpcfd.FromPerRPCCredentials(credentials)

	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	inodeURL := conn.GetMechanism().GetParameters()[common.InodeURL]
	if err != nil || !ok || !fdpass.IsInodeURL(inodeURL) {
		return conn, err
	}
	files, known := c.files.Of(conn.GetId())
	conn = conn.Clone()
	if err := toFile(ctx, files, conn.GetMechanism(), from); err != nil {
		if !known {
			c.files.Close(conn.GetId())
		}
		return nil, err
	}
	files.KeepOnly(inodeURL)
	return conn, nil
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	defer c.files.Close(conn.GetId())
	return next.Client(ctx).Close(ctx, conn, opts...)
}
