// SPDX-License-Identifier: Apache-2.0

// Package netsvcmonitor closes connections whose network service no longer
// admits their endpoint.
package netsvcmonitor

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type server struct {
	watches *watches
}

type connKey struct{}

// NewServer returns the element. It watches the network service of each
// connection until the connection closes or expires, or chainCtx ends; one watch
// serves all connections of a service. A client that heals then asks for
// another endpoint. It needs begin and metadata servers before it.
func NewServer(chainCtx context.Context, nsClient registry.NetworkServiceRegistryClient, nseClient registry.NetworkServiceEndpointRegistryClient) networkservice.NetworkServiceServer {
	return &server{&watches{ctx: chainCtx, ns: nsClient, nse: nseClient, byService: make(map[string]*watch)}}
}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	watched := &watched{
		service:  conn.GetNetworkService(),
		endpoint: conn.GetNetworkServiceEndpointName(),
		labels:   conn.GetLabels(),
		factory:  begin.FromContext(ctx),
		stop:     func() bool { return true },
	}
	if before, ok := metadata.Map(ctx, false).Swap(connKey{}, watched); ok {
		s.leave(before)
	}
	s.watches.join(watched)
	if left, ok := lifetime(conn); ok {
		timer := time.AfterFunc(left, func() { s.watches.leave(watched) })
		watched.stop = timer.Stop
	}
	return conn, nil
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if before, ok := metadata.Map(ctx, false).LoadAndDelete(connKey{}); ok {
		s.leave(before)
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (s *server) leave(before any) {
	w := before.(*watched)
	w.stop()
	s.watches.leave(w)
}

// lifetime is the time until the first token in the path expires.
func lifetime(conn *networkservice.Connection) (time.Duration, bool) {
	var first time.Time
	for _, segment := range conn.GetPath().GetPathSegments() {
		if segment.GetExpires() == nil {
			continue
		}
		if expires := segment.GetExpires().AsTime(); first.IsZero() || expires.Before(first) {
			first = expires
		}
	}
	return time.Until(first), !first.IsZero()
}
