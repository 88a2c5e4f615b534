// SPDX-License-Identifier: Apache-2.0

// Package xconnect hands a connection's two ports to the forwarding plane.
package xconnect

import (
	"context"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/protobuf/types/known/emptypb"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/metrics"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type server struct {
	plane plane.Plane
}

// NewServer joins the ports when the rest of the chain has negotiated both, and
// parts them before it closes.
func NewServer(p plane.Plane) networkservice.NetworkServiceServer {
	return &server{plane: p}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := s.join(ctx, conn); err != nil {
		return nil, undo.UndoServer(ctx, closeCtx, conn, err)
	}
	return conn, nil
}

func (s *server) join(ctx context.Context, conn *networkservice.Connection) error {
	clientPort, ok := port.Load(ctx, false)
	if !ok {
		return fmt.Errorf("join %s: no mechanism was agreed with the client", conn.GetId())
	}
	endpointPort, ok := port.Load(ctx, true)
	if !ok {
		return fmt.Errorf("join %s: no mechanism was agreed with the endpoint", conn.GetId())
	}
	c := &plane.Connection{
		ID:       conn.GetId(),
		Payload:  plane.Payload(conn.GetPayload()),
		MTU:      int(conn.GetContext().GetMTU()),
		Client:   clientPort,
		Endpoint: endpointPort,
	}
	if c.MTU == 0 {
		c.MTU = plane.DefaultMTU
	}
	link, err := s.plane.Join(ctx, c)
	if err != nil {
		return fmt.Errorf("join %s and %s: %w", clientPort, endpointPort, err)
	}
	if conn.GetContext() == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	conn.GetContext().MTU = uint32(link.MTU)
	metrics.Record(conn, &link)
	return nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := s.plane.Leave(ctx, conn.GetId()); err != nil {
		log.FromContext(ctx).Errorf("part the ports of %s: %v", conn.GetId(), err)
	}
	return next.Server(ctx).Close(ctx, conn)
}
