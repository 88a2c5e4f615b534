// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type server struct{ options }

// NewServer returns a server that completes the connection's mechanism, if
// that is KERNEL.
func NewServer(opts ...Option) networkservice.NetworkServiceServer {
	return &server{apply(opts)}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if mechanism := kernelmech.ToMechanism(conn.GetMechanism()); mechanism != nil {
		if err := s.fill(mechanism, conn.GetNetworkService()); err != nil {
			return nil, err
		}
	}
	return next.Server(ctx).Request(ctx, request)
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
