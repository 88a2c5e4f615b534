// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
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
	underlay mtu.Underlay
	devices  plane.Devices
}

// NewClient offers WireGuard to forwarders of other nodes for IP payload.
func NewClient(underlay mtu.Underlay, devices plane.Devices) networkservice.NetworkServiceClient {
	return &client{underlay: underlay, devices: devices}
}

func (c *client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	if request.GetConnection().GetPayload() != payload.IP {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	closeCtx := postpone.ContextWithValues(ctx)
	ours, err := ourEnd(ctx, metadata.IsClient(c), request.GetConnection().GetId(), c.underlay, c.devices)
	if err != nil {
		return nil, err
	}
	offer := &networkservice.Mechanism{Cls: cls.REMOTE, Type: wgmech.MECHANISM, Parameters: map[string]string{}}
	wgmech.ToMechanism(offer).SetSrcIP(ours.local.Addr().AsSlice()).SetSrcPort(ours.local.Port()).
		SetSrcPublicKey(ours.publicKey()).SetMTU(mtu.Ours(c.underlay, plane.KindWireGuard))
	request.MechanismPreferences = append(request.GetMechanismPreferences(), offer)
	// A refresh shows the key that we hold, also to a peer that remembers
	// another one from before a restart of ours.
	if mechanism := wgmech.ToMechanism(request.GetConnection().GetMechanism()); mechanism != nil {
		mechanism.SetSrcIP(ours.local.Addr().AsSlice()).SetSrcPort(ours.local.Port()).SetSrcPublicKey(ours.publicKey())
	}

	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	mechanism := wgmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return conn, nil
	}
	p, err := ours.port(mechanism.DstIP(), mechanism.DstPort(), mechanism.DstPublicKey(), true)
	if err != nil {
		return nil, undo.UndoClient(ctx, closeCtx, conn, err, opts...)
	}
	mtu.LimitToTunnel(conn, c.underlay, plane.KindWireGuard, mechanism.MTU())
	port.Store(ctx, metadata.IsClient(c), p)
	return conn, nil
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(c))
	forgetEnd(ctx, metadata.IsClient(c))
	return next.Client(ctx).Close(ctx, conn, opts...)
}
