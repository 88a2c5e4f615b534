// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/protobuf/types/known/emptypb"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
)

type server struct {
	classifier Classifier
}

// NewServer opens the pinholes of both halves of a connection. It stands
// outside the mechanisms, whose ports it reads, and inside xconnect: a tunnel's
// frames reach the socket before the plane lets them through, and the last one
// has been dealt with when the pinhole closes.
func NewServer(c Classifier) networkservice.NetworkServiceServer {
	return &server{classifier: c}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := openBoth(ctx, s.classifier); err != nil {
		return nil, undo.UndoServer(ctx, closeCtx, conn, err)
	}
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := shutBoth(ctx, s.classifier); err != nil {
		log.FromContext(ctx).Errorf("close pinholes of %s: %v", conn.GetId(), err)
	}
	return next.Server(ctx).Close(ctx, conn)
}
