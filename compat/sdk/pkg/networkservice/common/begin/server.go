// SPDX-License-Identifier: Apache-2.0

package begin

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

var errNoID = errors.New("begin: the connection has no id")

type beginServer struct{ table table }

// NewServer returns the begin of a server chain.
func NewServer() networkservice.NetworkServiceServer { return new(beginServer) }

func (b *beginServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	if id == "" {
		return nil, errNoID
	}
	c, err := b.table.enter(ctx, id, true)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	return c.callRequest(ctx, request, servers{next.Server(ctx)})
}

func (b *beginServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	c, err := b.table.enter(ctx, conn.GetId(), false)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return new(emptypb.Empty), nil
	}
	defer c.leave()
	c.rest = servers{next.Server(ctx)}
	return new(emptypb.Empty), c.callClose(ctx)
}

type servers struct {
	next networkservice.NetworkServiceServer
}

func (s servers) request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return s.next.Request(ctx, request)
}

func (s servers) close(ctx context.Context, conn *networkservice.Connection) error {
	_, err := s.next.Close(ctx, conn)
	return err
}
