// SPDX-License-Identifier: Apache-2.0

package recvfd

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type server struct {
	files fdpass.Table // by connection id
}

// NewServer returns a server that receives the files of a request's mechanisms.
// It waits for them until the request's deadline. They are held, under the
// same path, until the connection closes.
func NewServer() networkservice.NetworkServiceServer {
	return new(server)
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	from, ok := grpcfd.FromContext(ctx)
	if !ok {
		return next.Server(ctx).Request(ctx, request)
	}
	id := request.GetConnection().GetId()
	files, known := s.files.Of(id)
	// A refresh that fails leaves the connection as it is.
	undo := func() {
		if !known {
			s.files.Close(id)
		}
	}

	request = request.Clone()
	mechanisms := append([]*networkservice.Mechanism{request.GetConnection().GetMechanism()}, request.GetMechanismPreferences()...)
	for _, mechanism := range mechanisms {
		if err := toFile(ctx, files, mechanism, from); err != nil {
			undo()
			return nil, err
		}
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		undo()
		return nil, err
	}
	conn = conn.Clone()
	toInode(files, conn.GetMechanism())
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	defer s.files.Close(conn.GetId())
	if from, ok := grpcfd.FromContext(ctx); ok {
		files, _ := s.files.Of(conn.GetId())
		conn = conn.Clone()
		// The rest can mostly be closed without the file.
		if err := toFile(ctx, files, conn.GetMechanism(), from); err != nil {
			log.FromContext(ctx).Warnf("close %s: %v", conn.GetId(), err)
		}
	}
	return next.Server(ctx).Close(ctx, conn)
}
