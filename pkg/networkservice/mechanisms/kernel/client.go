// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
)

type client struct{}

// NewClient offers endpoints on this node a kernel interface; the endpoint
// answers with its namespace and the interface's name.
func NewClient() networkservice.NetworkServiceClient {
	return &client{}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	offer := &networkservice.Mechanism{Cls: cls.LOCAL, Type: kernelmech.MECHANISM, Parameters: map[string]string{}}
	kernelmech.ToMechanism(offer).SetInterfaceName(endpointName(request.GetConnection()))
	request.MechanismPreferences = append(request.GetMechanismPreferences(), offer)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	mechanism := kernelmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return conn, nil
	}
	p, err := newPort(mechanism, "client-"+conn.GetPath().GetPathSegments()[0].GetId())
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
