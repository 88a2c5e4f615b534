// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type server struct {
	underlay mtu.Underlay
	devices  plane.Devices
}

// NewServer serves forwarders of other nodes, which begin the handshake when
// our answer has reached them.
func NewServer(underlay mtu.Underlay, devices plane.Devices) networkservice.NetworkServiceServer {
	return &server{underlay: underlay, devices: devices}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := wgmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	ours, err := ourEnd(ctx, metadata.IsClient(s), request.GetConnection().GetId(), s.underlay, s.devices)
	if err != nil {
		return nil, err
	}
	p, err := ours.port(mechanism.SrcIP(), mechanism.SrcPort(), mechanism.SrcPublicKey(), false)
	if err != nil {
		return nil, err
	}
	mtu.LimitToTunnel(request.GetConnection(), s.underlay, plane.KindWireGuard, mechanism.MTU())
	mechanism.SetDstIP(ours.local.Addr().AsSlice()).SetDstPort(ours.local.Port()).SetDstPublicKey(ours.publicKey())
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if mechanism := wgmech.ToMechanism(conn.GetMechanism()); mechanism != nil {
		mechanism.SetMTU(mtu.LimitToTunnel(conn, s.underlay, plane.KindWireGuard, mechanism.MTU()))
	}
	port.Store(ctx, metadata.IsClient(s), p)
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(s))
	forgetEnd(ctx, metadata.IsClient(s))
	return next.Server(ctx).Close(ctx, conn)
}
