// SPDX-License-Identifier: Apache-2.0

// Package filtermechanisms offers only mechanisms that can reach the next hop.
package filtermechanisms

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

type client struct{}

// NewClient returns a client that leaves the local preferences if the URL to
// dial is a unix socket, that is on this node, and else the remote ones.
func NewClient() networkservice.NetworkServiceClient {
	return client{}
}

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if u := clienturlctx.ClientURL(ctx); u != nil {
		reach := cls.REMOTE
		if u.Scheme == "unix" || u.Scheme == "inode" {
			reach = cls.LOCAL
		}
		var left []*networkservice.Mechanism
		for _, preference := range request.GetMechanismPreferences() {
			if preference.GetCls() == reach {
				left = append(left, preference)
			}
		}
		request.MechanismPreferences = left
	}
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
