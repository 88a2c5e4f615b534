// SPDX-License-Identifier: Apache-2.0

package mechanisms

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type server struct {
	byType map[string]networkservice.NetworkServiceServer
}

// NewServer returns a server that hands a request to the element for its
// mechanism, by type. A connection that has a mechanism already is served by
// that one's element or not at all. Otherwise the request's preferences are
// tried in order, each with all the rest of the chain, until one succeeds.
func NewServer(mechanisms map[string]networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	s := &server{byType: make(map[string]networkservice.NetworkServiceServer, len(mechanisms))}
	for mechanismType, element := range mechanisms {
		s.byType[mechanismType] = chain.NewNetworkServiceServer(element)
	}
	return s
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if mechanism := request.GetConnection().GetMechanism(); mechanism != nil {
		element, ok := s.byType[mechanism.GetType()]
		if !ok {
			return nil, unsupported(mechanism, s.byType)
		}
		noteInterface(request.GetConnection(), mechanism, serverInterface)
		return element.Request(ctx, request)
	}

	var tried attempts
	for _, mechanism := range request.GetMechanismPreferences() {
		element, ok := s.byType[mechanism.GetType()]
		if !ok {
			continue
		}
		attempt := request.Clone()
		attempt.GetRequestConnection().Mechanism = mechanism.Clone()
		conn, err := element.Request(ctx, attempt)
		if err == nil {
			noteInterface(conn, conn.GetMechanism(), serverInterface)
			return conn, nil
		}
		tried.failed(mechanism, err)
	}
	return nil, tried.err(request, list(s.byType))
}

// Close goes on with the rest of the chain even for a mechanism that is not
// known, so that what there is can be cleaned up; then that is an error.
func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if element, ok := s.byType[conn.GetMechanism().GetType()]; ok {
		return element.Close(ctx, conn)
	}
	out, err := next.Server(ctx).Close(ctx, conn)
	if conn.GetMechanism() != nil {
		err = errors.Join(unsupported(conn.GetMechanism(), s.byType), err)
	}
	return out, err
}
