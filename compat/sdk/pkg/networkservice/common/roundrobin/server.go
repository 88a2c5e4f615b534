// SPDX-License-Identifier: Apache-2.0

// Package roundrobin chooses one of the candidates for a request, each in turn.
package roundrobin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

var errNoCandidates = errors.New("choose endpoint: there are no candidates")

type server struct {
	mu   sync.Mutex
	turn map[string]int // by network service
}

// NewServer returns the element: it sets the connection's endpoint name, and
// the endpoint's URL in the context. If the rest of the chain fails with one
// candidate, it tries the next. It needs discover before it; a request whose
// URL is known passes as it is.
func NewServer() networkservice.NetworkServiceServer {
	return &server{turn: make(map[string]int)}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if clienturlctx.ClientURL(ctx) != nil {
		return next.Server(ctx).Request(ctx, request)
	}
	candidates := discover.Candidates(ctx)
	if candidates == nil || len(candidates.Endpoints) == 0 {
		return nil, errNoCandidates
	}
	var errs []error
	for range candidates.Endpoints {
		if ctx.Err() != nil {
			break
		}
		nse := candidates.Endpoints[s.next(candidates.NetworkService.GetName())%len(candidates.Endpoints)]
		u, err := url.Parse(nse.GetUrl())
		if err == nil {
			attempt := request.Clone()
			attempt.GetConnection().NetworkServiceEndpointName = nse.GetName()
			var conn *networkservice.Connection
			if conn, err = next.Server(ctx).Request(clienturlctx.WithClientURL(ctx, u), attempt); err == nil {
				return conn, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", nse.GetName(), err))
	}
	errs = append(errs, ctx.Err())
	return nil, fmt.Errorf("no endpoint could serve the request: %w", errors.Join(errs...))
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

func (s *server) next(networkService string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn := s.turn[networkService]
	s.turn[networkService] = turn + 1
	return turn
}
