// SPDX-License-Identifier: Apache-2.0

// Package recvfd receives the sockets of endpoints beside the gRPC call. An
// endpoint's URL inode://<dev>/<ino> becomes unix:///proc/<pid>/fd/<n>, which can
// be dialed from here whatever namespaces the endpoint runs in.
package recvfd

import (
	"context"
	"net/url"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/edwarnicke/grpcfd"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/fdpass"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type recvfdNseOptions struct {
	forwarderServiceName string
}

// Option changes the server.
type Option func(o *recvfdNseOptions)

// WithForwarderServiceName keeps the sockets of endpoints of this service even
// if their first registration fails: connections to forwarders outlive that of
// the nsmgr to its registry.
func WithForwarderServiceName(forwarderServiceName string) Option {
	return func(o *recvfdNseOptions) { o.forwarderServiceName = forwarderServiceName }
}

// NewNetworkServiceEndpointRegistryServer returns a server that receives the
// socket of an endpoint that registers, and holds it until it unregisters.
func NewNetworkServiceEndpointRegistryServer(options ...Option) registry.NetworkServiceEndpointRegistryServer {
	s := new(server)
	for _, option := range options {
		option(&s.recvfdNseOptions)
	}
	return s
}

type server struct {
	either.PassNSEServer
	recvfdNseOptions
	sockets fdpass.Table // by endpoint name
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	from, ok := grpcfd.FromContext(ctx)
	inodeURL := nse.GetUrl()
	if !ok || !fdpass.IsInodeURL(inodeURL) {
		return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
	}
	name := nse.GetName()
	files, known := s.sockets.Of(name)
	undo := func() {
		if !known && (s.forwarderServiceName == "" || !slices.Contains(nse.GetNetworkServiceNames(), s.forwarderServiceName)) {
			s.sockets.Close(name)
		}
	}

	path, err := files.Receive(ctx, inodeURL, from)
	if err != nil {
		undo()
		return nil, err
	}
	local := nse.Clone()
	local.Url = unixURL(path)
	registered, err := next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, local)
	if err != nil {
		undo()
		return nil, err
	}
	files.KeepOnly(inodeURL)
	s.sockets.Rename(name, either.NameOf(nse, registered))
	if registered.GetUrl() == local.GetUrl() {
		registered = registered.Clone()
		registered.Url = inodeURL
	}
	return registered, nil
}

func (s *server) Unregister(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*emptypb.Empty, error) {
	defer s.sockets.Close(nse.GetName())
	if files, known := s.sockets.Of(nse.GetName()); known && fdpass.IsInodeURL(nse.GetUrl()) {
		// The socket is held: nothing has to be received to name it.
		if path, ok := files.Path(nse.GetUrl()); ok {
			nse = nse.Clone()
			nse.Url = unixURL(path)
		}
	}
	return next.NetworkServiceEndpointRegistryServer(ctx).Unregister(ctx, nse)
}

func unixURL(path string) string {
	return (&url.URL{Scheme: "unix", Path: path}).String()
}
