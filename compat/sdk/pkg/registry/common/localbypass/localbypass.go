// SPDX-License-Identifier: Apache-2.0

// Package localbypass makes an nsmgr the way to its local endpoints for
// everybody else, and leaves the direct way to its own clients.
package localbypass

import (
	"context"
	"fmt"
	"net/url"

	"github.com/edwarnicke/genericsync"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
)

type server struct {
	nsmgrURL string
	urls     genericsync.Map[string, string] // of local endpoints, by name
}

// NewNetworkServiceEndpointRegistryServer returns the element. Endpoints are
// registered further up under nsmgrURL. Of those found, a local one gets its
// own URL back; one that bears nsmgrURL but is not known here (it registered
// before this nsmgr was started again, and has not come back yet) is left out.
func NewNetworkServiceEndpointRegistryServer(nsmgrURL string) registry.NetworkServiceEndpointRegistryServer {
	return &server{nsmgrURL: nsmgrURL}
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	if u, err := url.Parse(nse.GetUrl()); err != nil {
		return nil, fmt.Errorf("register endpoint %s: %w", nse.GetName(), err)
	} else if u.String() == "" {
		return nil, fmt.Errorf("register endpoint %s: it has no URL", nse.GetName())
	}
	local := nse.GetUrl()
	// Known before the registry says so to those that watch.
	before, known := s.urls.Load(nse.GetName())
	s.urls.Store(nse.GetName(), local)

	nse = nse.Clone()
	nse.Url = s.nsmgrURL
	registered, err := next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
	if err != nil {
		if known {
			s.urls.Store(nse.GetName(), before)
		} else {
			s.urls.Delete(nse.GetName())
		}
		return nil, err
	}
	registered = registered.Clone()
	if registered.GetName() != nse.GetName() {
		s.urls.Delete(nse.GetName())
		s.urls.Store(registered.GetName(), local)
	}
	registered.Url = local
	return registered, nil
}

func (s *server) Find(query *registry.NetworkServiceEndpointQuery, stream registry.NetworkServiceEndpointRegistry_FindServer) error {
	return next.NetworkServiceEndpointRegistryServer(stream.Context()).Find(query, &findStream{stream, s})
}

func (s *server) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	nse = nse.Clone()
	nse.Url = s.nsmgrURL
	out, err := next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
	s.urls.Delete(nse.GetName())
	return out, err
}

type findStream struct {
	registry.NetworkServiceEndpointRegistry_FindServer
	server *server
}

func (f *findStream) Send(response *registry.NetworkServiceEndpointResponse) error {
	nse := response.GetNetworkServiceEndpoint()
	local, known := f.server.urls.Load(nse.GetName())
	switch {
	case known:
		response = response.Clone()
		response.NetworkServiceEndpoint.Url = local
	case nse.GetUrl() == f.server.nsmgrURL && !response.GetDeleted():
		return nil
	}
	return f.NetworkServiceEndpointRegistry_FindServer.Send(response)
}
