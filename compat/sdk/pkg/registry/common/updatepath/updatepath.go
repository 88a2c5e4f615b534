// SPDX-License-Identifier: Apache-2.0

// Package updatepath notes each process that a registration goes through: in
// the path a token of its own and the caller's, and in the resource's path_ids
// the SPIFFE IDs of those tokens.
package updatepath

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// NewNetworkServiceRegistryServer returns the element for network services;
// tokenGenerator makes this process' tokens.
func NewNetworkServiceRegistryServer(tokenGenerator token.GeneratorFunc) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSSend]{generate: tokenGenerator}
}

// NewNetworkServiceEndpointRegistryServer returns the element for endpoints;
// tokenGenerator makes this process' tokens.
func NewNetworkServiceEndpointRegistryServer(tokenGenerator token.GeneratorFunc) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSESend]{generate: tokenGenerator}
}

type expirationKey struct{}

// ExpirationTimeFromContext returns when the token that this process put into
// the path expires, or nil.
func ExpirationTimeFromContext(ctx context.Context) *time.Time {
	expires, _ := ctx.Value(expirationKey{}).(*time.Time)
	return expires
}

type server[T either.Resource[T], Q any, F either.Stream] struct {
	either.PassServer[T, Q, F]
	generate token.GeneratorFunc
}

func (s *server[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return call(ctx, s.generate, in, func(ctx context.Context, in T) (T, error) {
		return either.NextServer[T, Q, F](ctx).Register(ctx, in)
	})
}

func (s *server[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return call(ctx, s.generate, in, func(ctx context.Context, in T) (*emptypb.Empty, error) {
		return either.NextServer[T, Q, F](ctx).Unregister(ctx, in)
	})
}

// call gives the elements after this one a path of their own, so that what
// they do later (when the registration expires) sees it as it was for them; the
// caller gets the segments back, and its own index.
func call[T either.Resource[T], R any](ctx context.Context, generate token.GeneratorFunc, in T, next func(context.Context, T) (R, error)) (R, error) {
	var none R
	callerToken, _, err := token.FromContext(ctx)
	if err != nil {
		log.FromContext(ctx).Warnf("update path: the caller's token: %v", err)
	}
	var authInfo credentials.AuthInfo
	if p, ok := peer.FromContext(ctx); ok {
		authInfo = p.AuthInfo
	}
	ownToken, expires, err := generate(authInfo)
	if err != nil {
		return none, fmt.Errorf("update path: make a token: %w", err)
	}

	outer := grpcmetadata.PathFromContext(ctx)
	inner := outer.Clone()
	if err := enter(inner, callerToken, ownToken); err != nil {
		return none, err
	}
	ids, err := enterIDs(ctx, in.GetPathIds(), int(inner.Index), callerToken, ownToken)
	if err != nil {
		return none, err
	}
	in = in.Clone()
	either.SetPathIDs(in, ids)

	ctx = grpcmetadata.PathWithContext(ctx, inner)
	ctx = context.WithValue(ctx, expirationKey{}, &expires)
	out, err := next(ctx, in)
	if err != nil {
		return none, err
	}
	outer.PathSegments = inner.Clone().PathSegments
	return out, nil
}

// enter moves path on by one: the caller's segment and the own one get fresh
// tokens. The first process to be called writes both.
func enter(path *grpcmetadata.Path, callerToken, ownToken string) error {
	if len(path.PathSegments) == 0 {
		path.PathSegments = []*grpcmetadata.PathSegment{{}}
		path.Index = 0
	}
	if int(path.Index) >= len(path.PathSegments) {
		return fmt.Errorf("update path: index %d is outside of the path of %d segments", path.Index, len(path.PathSegments))
	}
	path.GetCurrentPathSegment().Token = callerToken
	path.Index++
	if int(path.Index) == len(path.PathSegments) {
		path.PathSegments = append(path.PathSegments, new(grpcmetadata.PathSegment))
	}
	path.GetCurrentPathSegment().Token = ownToken
	return nil
}

func enterIDs(ctx context.Context, ids []string, index int, callerToken, ownToken string) ([]string, error) {
	ids = slices.Clone(ids)
	for len(ids) <= index {
		ids = append(ids, "")
	}
	caller, err := subject(callerToken)
	if err != nil {
		log.FromContext(ctx).Warnf("update path: the caller's token: %v", err)
	}
	own, err := subject(ownToken)
	if err != nil {
		return nil, fmt.Errorf("update path: the own token: %w", err)
	}
	ids[index-1], ids[index] = caller.String(), own.String()
	return ids, nil
}

// subject reads the SPIFFE ID of a token. Whether that is signed is for the
// authorization policies to say.
func subject(text string) (spiffeid.ID, error) {
	claims := new(jwt.RegisteredClaims)
	if _, _, err := jwt.NewParser().ParseUnverified(text, claims); err != nil {
		return spiffeid.ID{}, fmt.Errorf("parse token: %w", err)
	}
	id, err := spiffeid.FromString(claims.Subject)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("parse subject of token: %w", err)
	}
	return id, nil
}
