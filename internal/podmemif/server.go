// SPDX-License-Identifier: Apache-2.0

package podmemif

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/connectioncontext"
)

type server struct{ connections *Connections }

// NewServer answers with a socket of its own for each connection, on which it has
// listened before the answer, and a stack behind it.
func NewServer(connections *Connections) networkservice.NetworkServiceServer {
	return &server{connections}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	conn := request.GetConnection()
	mechanism := memifmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return next.Server(ctx).Request(ctx, request)
	}
	id, known := conn.GetId(), s.connections.end(conn.GetId()) != nil
	socket := socketOf(id)
	if err := s.connections.listen(ctx, conn, socket); err != nil {
		return nil, err
	}
	// A refresh brings the forwarder's view of both.
	mechanism.SetNetNSURL(ownNetNS)
	mechanism.SetSocketFilename(socket)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		if !known {
			s.connections.remove(id)
		}
		return nil, err
	}
	if err := s.configure(conn); err != nil {
		if known {
			return nil, err
		}
		s.connections.remove(id)
		undoCtx, cancel := closeCtx()
		defer cancel()
		if _, closeErr := next.Server(ctx).Close(undoCtx, conn); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("undo: %w", closeErr))
		}
		return nil, err
	}
	return conn, nil
}

func (s *server) configure(conn *networkservice.Connection) error {
	config, err := connectioncontext.EndpointConfig(conn.GetContext())
	if err != nil {
		return err
	}
	return s.connections.end(conn.GetId()).configure(config)
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	s.connections.remove(conn.GetId())
	return next.Server(ctx).Close(ctx, conn)
}

// socketOf is the name of a connection's socket, the stock one's unless the id is too
// long for it.
func socketOf(id string) string {
	socket := "@/tmp/memif/" + id + "/memif.socket"
	if len(socket) > maxSocketName {
		socket = fmt.Sprintf("@/tmp/memif/%x/memif.socket", sha256.Sum256([]byte(id)))
	}
	return socket
}
