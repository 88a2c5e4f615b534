// SPDX-License-Identifier: Apache-2.0

// Package discover finds out who may serve a request: the endpoint that the
// request names, or all that its network service admits.
package discover

import (
	"context"
	"fmt"
	"net/url"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type server struct {
	finder finder
}

// NewServer returns the element. For a request that names its endpoint it puts
// the endpoint's URL into the context; for others the candidates, and it sets
// the connection's payload. What is not registered is waited for, nearly until
// the request's deadline. A request whose URL is known passes as it is.
func NewServer(nsClient registry.NetworkServiceRegistryClient, nseClient registry.NetworkServiceEndpointRegistryClient) networkservice.NetworkServiceServer {
	return &server{finder{ns: nsClient, nse: nseClient}}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if clienturlctx.ClientURL(ctx) != nil {
		return next.Server(ctx).Request(ctx, request)
	}
	conn := request.GetConnection()
	if name := conn.GetNetworkServiceEndpointName(); name != "" {
		nse, err := s.finder.endpoint(ctx, name, true)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(nse.GetUrl())
		if err != nil {
			return nil, fmt.Errorf("discover endpoint %s: %w", name, err)
		}
		return next.Server(ctx).Request(clienturlctx.WithClientURL(ctx, u), request)
	}

	ns, err := s.finder.service(ctx, conn.GetNetworkService(), conn.GetPayload())
	if err != nil {
		return nil, err
	}
	nses, err := s.finder.candidates(ctx, ns, conn.GetLabels())
	if err != nil {
		return nil, err
	}
	request = request.Clone()
	request.GetConnection().Payload = ns.GetPayload()
	return next.Server(ctx).Request(WithCandidates(ctx, nses, ns), request)
}

// Close reaches the next element whether the endpoint is there or not: what
// this process holds for the connection must be cleaned up.
func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if name := conn.GetNetworkServiceEndpointName(); name != "" && clienturlctx.ClientURL(ctx) == nil {
		nse, err := s.finder.endpoint(ctx, name, false)
		var u *url.URL
		if err == nil {
			u, err = url.Parse(nse.GetUrl())
		}
		if err != nil {
			log.FromContext(ctx).Warnf("close %s: %v", conn.GetId(), err)
		} else {
			ctx = clienturlctx.WithClientURL(ctx, u)
		}
	}
	return next.Server(ctx).Close(ctx, conn)
}
