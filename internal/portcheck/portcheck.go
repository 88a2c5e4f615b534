// SPDX-License-Identifier: Apache-2.0

// Package portcheck lets tests of chain elements see which ports the rest of
// a chain negotiated.
package portcheck

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Ports are what an element of NewServer or NewClient saw last.
type Ports struct {
	// Client and Endpoint are the ports of the two sides, nil for none.
	Client, Endpoint plane.Port
	// Closed tells that a close has passed.
	Closed bool
}

// NewServer looks at the ports after the rest of a server chain has run.
func (p *Ports) NewServer() networkservice.NetworkServiceServer { return server{p} }

// NewClient does so in a client chain.
func (p *Ports) NewClient() networkservice.NetworkServiceClient { return client{p} }

func (p *Ports) look(ctx context.Context) {
	p.Client, _ = port.Load(ctx, false)
	p.Endpoint, _ = port.Load(ctx, true)
}

type server struct{ *Ports }

func (s server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	s.look(ctx)
	return conn, err
}

func (s server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	e, err := next.Server(ctx).Close(ctx, conn)
	s.Closed = true
	s.look(ctx)
	return e, err
}

type client struct{ *Ports }

func (c client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	c.look(ctx)
	return conn, err
}

func (c client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	e, err := next.Client(ctx).Close(ctx, conn, opts...)
	c.Closed = true
	c.look(ctx)
	return e, err
}
