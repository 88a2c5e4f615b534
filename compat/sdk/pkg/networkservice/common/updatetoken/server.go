// SPDX-License-Identifier: Apache-2.0

// Package updatetoken writes tokens into the path: the caller's into its
// segment, and a fresh one of ours, made for the caller, into our own.
package updatetoken

import (
	"context"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

type updateTokenServer struct{ generate token.GeneratorFunc }

// NewServer returns the element whose own tokens come from tokenGenerator. A
// caller without a token keeps what its segment says: whether that will do is
// for authorize to decide.
func NewServer(tokenGenerator token.GeneratorFunc) networkservice.NetworkServiceServer {
	return &updateTokenServer{generate: tokenGenerator}
}

func (s *updateTokenServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if err := s.update(ctx, request.GetConnection()); err != nil {
		return nil, err
	}
	return next.Server(ctx).Request(ctx, request)
}

func (s *updateTokenServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := s.update(ctx, conn); err != nil {
		return nil, err
	}
	return next.Server(ctx).Close(ctx, conn)
}

func (s *updateTokenServer) update(ctx context.Context, conn *networkservice.Connection) error {
	if caller := conn.GetPrevPathSegment(); caller != nil {
		text, expires, err := token.FromContext(ctx)
		if err != nil {
			log.FromContext(ctx).Debugf("update token of %s: %v", caller.GetName(), err)
		} else {
			caller.Token = text
			caller.Expires = timestamppb.New(expires)
		}
	}
	own := conn.GetCurrentPathSegment()
	if own == nil {
		return fmt.Errorf("update token: path of connection %q has no segment at index %d",
			conn.GetId(), conn.GetPath().GetIndex())
	}
	var info credentials.AuthInfo
	if p, ok := peer.FromContext(ctx); ok {
		info = p.AuthInfo
	}
	text, expires, err := s.generate(info)
	if err != nil {
		return fmt.Errorf("update token: %w", err)
	}
	own.Token = text
	own.Expires = timestamppb.New(expires)
	return nil
}
