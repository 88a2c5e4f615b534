// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/vxlan/vni"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
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

// NewServer serves forwarders of other nodes; localPort zero means DefaultPort.
func NewServer(underlay mtu.Underlay, devices plane.Devices, localPort uint16) networkservice.NetworkServiceServer {
	return chain.NewNetworkServiceServer(
		&number{devices: devices},
		vni.NewServer(underlay.Addr().AsSlice(), vni.WithTunnelPort(end{port: localPort}.portOrDefault())),
		&server{underlay: underlay, devices: devices},
	)
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := vxlanmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	p, err := newPort(destination(mechanism), source(mechanism), mechanism.VNI())
	if err != nil {
		return nil, err
	}
	if !s.devices.HasRoom(request.GetConnection().GetId(), p) {
		return nil, errNumberTaken
	}
	mtu.LimitToTunnel(request.GetConnection(), s.underlay, plane.KindVXLAN, mechanism.MTU())
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if mechanism := vxlanmech.ToMechanism(conn.GetMechanism()); mechanism != nil {
		mechanism.SetMTU(mtu.LimitToTunnel(conn, s.underlay, plane.KindVXLAN, mechanism.MTU()))
	}
	port.Store(ctx, metadata.IsClient(s), p)
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(s))
	return next.Server(ctx).Close(ctx, conn)
}
