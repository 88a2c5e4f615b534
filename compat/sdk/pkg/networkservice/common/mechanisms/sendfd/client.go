// SPDX-License-Identifier: Apache-2.0

package sendfd

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type client struct{}

// NewClient returns a client that sends the files of a request's mechanisms. A
// file that cannot be opened is an error at once.
func NewClient() networkservice.NetworkServiceClient {
	return client{}
}

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	to, opts, ok := sender(opts)
	if !ok {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	request = request.Clone()
	files := make(sent)
	mechanisms := append([]*networkservice.Mechanism{request.GetConnection().GetMechanism()}, request.GetMechanismPreferences()...)
	for _, mechanism := range mechanisms {
		if err := files.toInode(to, mechanism); err != nil {
			return nil, err
		}
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	conn = conn.Clone()
	files.toFile(conn.GetMechanism())
	return conn, nil
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if to, sendOpts, ok := sender(opts); ok {
		opened := conn.Clone()
		// A pod that is gone has no namespace to send, and must be closed too.
		if err := make(sent).toInode(to, opened.GetMechanism()); err != nil {
			log.FromContext(ctx).Debugf("close %s: %v", conn.GetId(), err)
		} else {
			conn, opts = opened, sendOpts
		}
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// sender returns opts with credentials that can send files with the call.
func sender(opts []grpc.CallOption) (grpcfd.FDSender, []grpc.CallOption, bool) {
	credentials := grpcfd.PerRPCCredentials(grpcfd.PerRPCCredentialsFromCallOptions(opts...))
	opts = append(append([]grpc.CallOption(nil), opts...), grpc.PerRPCCredentials(credentials))
	to, ok := grpcfd.FromPerRPCCredentials(credentials)
	return to, opts, ok
}
