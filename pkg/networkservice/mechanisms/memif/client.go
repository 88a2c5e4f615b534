// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
)

type client struct{}

// NewClient offers endpoints on this node a memif; the endpoint answers with
// the socket that it listens on.
func NewClient() networkservice.NetworkServiceClient {
	return &client{}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	request.MechanismPreferences = append(request.GetMechanismPreferences(),
		&networkservice.Mechanism{Cls: cls.LOCAL, Type: memifmech.MECHANISM, Parameters: map[string]string{}})
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	mechanism := memifmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return conn, nil
	}
	p, err := connectPort(mechanism)
	if err != nil {
		return nil, undo.UndoClient(ctx, closeCtx, conn, err, opts...)
	}
	port.Store(ctx, metadata.IsClient(c), p)
	return conn, nil
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(c))
	return next.Client(ctx).Close(ctx, conn, opts...)
}
