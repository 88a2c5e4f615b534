// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"context"
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mtu"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
)

type server struct {
	underlay mtu.Underlay
}

// NewServer serves forwarders of other nodes, which begin the handshake when
// our answer has reached them.
func NewServer(underlay mtu.Underlay) networkservice.NetworkServiceServer {
	return &server{underlay: underlay}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := wgmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	key, err := keyPair(ctx, metadata.IsClient(s))
	if err != nil {
		return nil, err
	}
	local := netip.AddrPortFrom(s.underlay.Addr(), DefaultPort)
	p, err := newPort(key, local, mechanism.SrcIP(), mechanism.SrcPort(), mechanism.SrcPublicKey(), false)
	if err != nil {
		return nil, err
	}
	limitMTU(s.underlay, request.GetConnection())
	mechanism.SetDstIP(local.Addr().AsSlice()).SetDstPort(local.Port()).SetDstPublicKey(encodeKey(key.PublicKey()))
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if mechanism := wgmech.ToMechanism(conn.GetMechanism()); mechanism != nil {
		mechanism.SetMTU(limitMTU(s.underlay, conn))
	}
	port.Store(ctx, metadata.IsClient(s), p)
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(s))
	forgetKeyPair(ctx, metadata.IsClient(s))
	return next.Server(ctx).Close(ctx, conn)
}
