// SPDX-License-Identifier: Apache-2.0

package authorize

import (
	"context"

	"github.com/edwarnicke/genericsync"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/spire"
)

type authorizeServer struct {
	policies    policies
	connections *spiffeIDConnectionMap
}

// NewServer returns the element that checks the path up to and with our own
// segment, by the built-in common and server policies unless an option says
// otherwise. Its errors have status PermissionDenied when a policy says no.
func NewServer(opts ...Option) networkservice.NetworkServiceServer {
	o := options{
		paths:       []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/server/.*.rego"},
		connections: new(spiffeIDConnectionMap),
	}
	for _, opt := range opts {
		opt(&o)
	}
	return &authorizeServer{policies: load(o.paths), connections: o.connections}
}

func (a *authorizeServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if err := a.policies.check(ctx, untilOwn(conn.GetPath())); err != nil {
		return nil, err
	}
	id := callerID(conn)
	fresh := a.note(ctx, id)
	reply, err := next.Server(ctx).Request(ctx, request)
	if err != nil && fresh {
		a.forget(ctx, id)
	}
	return reply, err
}

func (a *authorizeServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := a.policies.check(ctx, untilOwn(conn.GetPath())); err != nil {
		return nil, err
	}
	a.forget(ctx, callerID(conn))
	return next.Server(ctx).Close(ctx, conn)
}

// untilOwn returns path without what earlier requests have left behind our
// segment.
func untilOwn(path *networkservice.Path) *networkservice.Path {
	end := min(int(path.GetIndex())+1, len(path.GetPathSegments()))
	return &networkservice.Path{Index: path.GetIndex(), PathSegments: path.GetPathSegments()[:end]}
}

// callerID returns the id that the caller knows conn by, and selects it by when
// it monitors it.
func callerID(conn *networkservice.Connection) string {
	if previous := conn.GetPrevPathSegment(); previous != nil {
		return previous.GetId()
	}
	return conn.GetId()
}

// note remembers that the peer of ctx owns connection id, and says whether that
// is news.
func (a *authorizeServer) note(ctx context.Context, id string) bool {
	peer, err := spire.PeerSpiffeIDFromContext(ctx)
	if err != nil || a.connections == nil {
		return false
	}
	ids, ok := a.connections.Load(peer)
	if !ok {
		ids, _ = a.connections.LoadOrStore(peer, new(genericsync.Map[string, struct{}]))
	}
	_, known := ids.LoadOrStore(id, struct{}{})
	return !known
}

func (a *authorizeServer) forget(ctx context.Context, id string) {
	peer, err := spire.PeerSpiffeIDFromContext(ctx)
	if err != nil || a.connections == nil {
		return
	}
	if ids, ok := a.connections.Load(peer); ok {
		ids.Delete(id)
		empty := true
		ids.Range(func(string, struct{}) bool { empty = false; return false })
		if empty {
			a.connections.Delete(peer)
		}
	}
}
