// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/networkservice/payload"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type client struct {
	underlay  mtu.Underlay
	localPort uint16
}

// NewClient offers VXLAN to forwarders of other nodes for Ethernet payload;
// localPort zero means DefaultPort.
func NewClient(underlay mtu.Underlay, localPort uint16) networkservice.NetworkServiceClient {
	return &client{underlay: underlay, localPort: end{port: localPort}.portOrDefault()}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	if request.GetConnection().GetPayload() != payload.Ethernet {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeCtx := postpone.ContextWithValues(ctx)
	offer := &networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlanmech.MECHANISM, Parameters: map[string]string{}}
	vxlanmech.ToMechanism(offer).SetSrcIP(c.underlay.Addr().AsSlice()).SetSrcPort(c.localPort).
		SetMTU(mtu.Ours(c.underlay, plane.KindVXLAN))
	request.MechanismPreferences = append(request.GetMechanismPreferences(), offer)

	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	mechanism := vxlanmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return conn, nil
	}
	p, err := newPort(source(mechanism), destination(mechanism), mechanism.VNI())
	if err != nil {
		return nil, undo.UndoClient(ctx, closeCtx, conn, err, opts...)
	}
	mtu.LimitToTunnel(conn, c.underlay, plane.KindVXLAN, mechanism.MTU())
	port.Store(ctx, metadata.IsClient(c), p)
	return conn, nil
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(c))
	return next.Client(ctx).Close(ctx, conn, opts...)
}
