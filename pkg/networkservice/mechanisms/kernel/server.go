// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/nanoid"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
)

type server struct{}

// NewServer serves clients that want a kernel interface. An interface without
// a name gets one made from the service's.
func NewServer() networkservice.NetworkServiceServer {
	return &server{}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanism := kernelmech.ToMechanism(request.GetConnection().GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	if mechanism.GetInterfaceName() == "" {
		name, err := nanoid.GenerateLinuxInterfaceName(request.GetConnection().GetNetworkService())
		if err != nil {
			return nil, fmt.Errorf("kernel mechanism: name the interface: %w", err)
		}
		mechanism.SetInterfaceName(name)
	}
	// Bad parameters are refused before anything is made for them.
	p, err := newPort(mechanism, "server-"+request.GetConnection().GetPath().GetPathSegments()[0].GetId())
	if err != nil {
		return nil, err
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	port.Store(ctx, metadata.IsClient(s), p)
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	port.Delete(ctx, metadata.IsClient(s))
	return next.Server(ctx).Close(ctx, conn)
}
