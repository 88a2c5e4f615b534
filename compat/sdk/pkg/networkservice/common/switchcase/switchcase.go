// SPDX-License-Identifier: Apache-2.0

// Package switchcase passes a call through the first of several elements whose
// condition holds, and then on along the chain.
package switchcase

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// Condition says whether a case is for the connection.
type Condition = func(context.Context, *networkservice.Connection) bool

// Default is the condition that always holds.
func Default(context.Context, *networkservice.Connection) bool { return true }

// ClientCase is a client and when to use it.
type ClientCase struct {
	Condition Condition
	Client    networkservice.NetworkServiceClient
}

// NewClient returns the element that chooses among cases. When none holds the
// call just goes on.
func NewClient(cases ...*ClientCase) networkservice.NetworkServiceClient { return clients(cases) }

type clients []*ClientCase

func (c clients) choose(ctx context.Context, conn *networkservice.Connection) networkservice.NetworkServiceClient {
	for _, candidate := range c {
		if candidate.Condition(ctx, conn) {
			return candidate.Client
		}
	}
	return next.Client(ctx)
}

func (c clients) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return c.choose(ctx, request.GetConnection()).Request(ctx, request, opts...)
}

func (c clients) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return c.choose(ctx, conn).Close(ctx, conn, opts...)
}

// ServerCase is a server and when to use it.
type ServerCase struct {
	Condition Condition
	Server    networkservice.NetworkServiceServer
}

// NewServer returns the element that chooses among cases. When none holds the
// call just goes on.
func NewServer(cases ...*ServerCase) networkservice.NetworkServiceServer { return servers(cases) }

type servers []*ServerCase

func (s servers) choose(ctx context.Context, conn *networkservice.Connection) networkservice.NetworkServiceServer {
	for _, candidate := range s {
		if candidate.Condition(ctx, conn) {
			return candidate.Server
		}
	}
	return next.Server(ctx)
}

func (s servers) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return s.choose(ctx, request.GetConnection()).Request(ctx, request)
}

func (s servers) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return s.choose(ctx, conn).Close(ctx, conn)
}
