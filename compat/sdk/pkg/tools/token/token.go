// SPDX-License-Identifier: Apache-2.0

// Package token passes the caller's token along with each RPC, as gRPC
// metadata.
package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// Metadata keys of the token and of its expiry as RFC 3339 with nanoseconds.
const (
	tokenKey   = "nsm-client-token"
	expiresKey = "nsm-client-token-expires"
)

// GeneratorFunc makes a token for the peer that peerAuthInfo describes.
type GeneratorFunc func(peerAuthInfo credentials.AuthInfo) (token string, expireTime time.Time, err error)

// FromContext returns the token that came with the RPC of ctx and its expiry.
func FromContext(ctx context.Context) (string, time.Time, error) {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return "", time.Time{}, errors.New("read token: the call has no metadata")
	}
	tokens, expires := md.Get(tokenKey), md.Get(expiresKey)
	if len(tokens) == 0 || tokens[0] == "" {
		return "", time.Time{}, fmt.Errorf("read token: metadata %s is missing", tokenKey)
	}
	if len(expires) == 0 {
		return "", time.Time{}, fmt.Errorf("read token: metadata %s is missing", expiresKey)
	}
	at, err := time.Parse(time.RFC3339Nano, expires[0])
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read token: metadata %s: %w", expiresKey, err)
	}
	return tokens[0], at, nil
}

// NewPerRPCCredentials sends a token that genTokenFunc makes with each RPC. It
// needs a secured transport.
func NewPerRPCCredentials(genTokenFunc GeneratorFunc) credentials.PerRPCCredentials {
	return perRPC(genTokenFunc)
}

type perRPC GeneratorFunc

func (p perRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	text, expires, err := p(info.AuthInfo)
	if err != nil {
		return nil, fmt.Errorf("make token: %w", err)
	}
	return map[string]string{
		tokenKey:   text,
		expiresKey: expires.Format(time.RFC3339Nano),
	}, nil
}

func (perRPC) RequireTransportSecurity() bool { return true }
