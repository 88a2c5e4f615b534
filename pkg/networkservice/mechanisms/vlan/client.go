// SPDX-License-Identifier: Apache-2.0

package vlan

import (
	"context"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
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
	underlay mtu.Underlay
	devices  Devices
	payloads []plane.Payload
}

// NewClient offers VLAN for connections of the payloads.
func NewClient(underlay mtu.Underlay, devices Devices, payloads ...plane.Payload) networkservice.NetworkServiceClient {
	return &client{underlay: underlay, devices: devices, payloads: payloads}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	if !slices.Contains(c.payloads, plane.Payload(request.GetConnection().GetPayload())) {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeCtx := postpone.ContextWithValues(ctx)
	request.MechanismPreferences = append(request.GetMechanismPreferences(),
		&networkservice.Mechanism{Cls: cls.REMOTE, Type: vlanmech.MECHANISM, Parameters: map[string]string{}})
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if vlanmech.ToMechanism(conn.GetMechanism()) == nil {
		return conn, nil
	}
	p, limit, err := c.newPort(conn)
	if err != nil {
		return nil, undo.UndoClient(ctx, closeCtx, conn, err, opts...)
	}
	mtu.Limit(conn, limit)
	port.Store(ctx, metadata.IsClient(c), p)
	return conn, nil
}

// newPort also returns the MTU of the device.
func (c *client) newPort(conn *networkservice.Connection) (plane.VLAN, int, error) {
	p, err := c.devices.newPort(conn)
	if err != nil || p.Uplink == "" {
		return p, c.underlay.MTU(), err
	}
	limit, err := deviceMTU(p.Uplink)
	return p, limit, err
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(c))
	return next.Client(ctx).Close(ctx, conn, opts...)
}
