// SPDX-License-Identifier: Apache-2.0

package sendfd

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type server struct{}

// NewServer returns a server that sends the file of the mechanism in the answer.
func NewServer() networkservice.NetworkServiceServer {
	return server{}
}

func (server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	to, ok := grpcfd.FromContext(ctx)
	if err != nil || !ok {
		return conn, err
	}
	conn = conn.Clone()
	if err := make(sent).toInode(to, conn.GetMechanism()); err != nil {
		return nil, err
	}
	return conn, nil
}

func (server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
