// SPDX-License-Identifier: Apache-2.0

package authorize

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

// allowedKey marks connections that have been allowed once.
type allowedKey struct{}

type authorizeClient struct{ policies policies }

// NewClient returns the element that checks the path which the next hop replies,
// by the built-in common and client policies unless an option says otherwise. A
// new connection that must not be is closed again. It needs metadata ahead in
// the chain.
func NewClient(opts ...Option) networkservice.NetworkServiceClient {
	o := options{paths: []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/client/.*.rego"}}
	for _, opt := range opts {
		opt(&o)
	}
	return &authorizeClient{policies: load(o.paths)}
}

func (a *authorizeClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if a.policies.err != nil {
		return nil, a.policies.err
	}
	if len(a.policies.list) == 0 {
		return next.Client(ctx).Request(ctx, request, opts...)
	}
	postponed := postpone.ContextWithValues(ctx)
	var p peer.Peer
	conn, err := next.Client(ctx).Request(ctx, request, append(opts[:len(opts):len(opts)], grpc.Peer(&p))...)
	if err != nil {
		return nil, err
	}
	if p.Addr == nil && p.AuthInfo == nil {
		return conn, nil // the next hop is in this process
	}
	own := metadata.Map(ctx, true)
	if err := a.policies.check(peer.NewContext(ctx, &p), conn.GetPath()); err != nil {
		if _, established := own.Load(allowedKey{}); established {
			// A refresh only: the peer may have renewed its SVID since our
			// TLS handshake, which is for dial to put right.
			return nil, err
		}
		closeCtx, cancel := postponed()
		defer cancel()
		if _, closeErr := next.Client(ctx).Close(closeCtx, conn, opts...); closeErr != nil {
			log.FromContext(ctx).Warnf("authorize: close a connection that must not be: %v", closeErr)
		}
		return nil, err
	}
	own.Store(allowedKey{}, struct{}{})
	return conn, nil
}

func (a *authorizeClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
