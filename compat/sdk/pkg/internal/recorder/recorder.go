// SPDX-License-Identifier: Apache-2.0

// Package recorder has chain elements for tests that note what passes through
// them and may interfere.
package recorder

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// Recorder is what Server and Client have in common. The functions may be nil;
// their error is what the call returns.
type Recorder struct {
	OnRequest func(ctx context.Context, request *networkservice.NetworkServiceRequest) error
	OnReply   func(ctx context.Context, conn *networkservice.Connection) error
	OnClose   func(ctx context.Context, conn *networkservice.Connection) error

	mu       sync.Mutex
	requests []*networkservice.NetworkServiceRequest
	closes   []*networkservice.Connection
}

// Requests returns the requests as they came.
func (r *Recorder) Requests() []*networkservice.NetworkServiceRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*networkservice.NetworkServiceRequest(nil), r.requests...)
}

// Closes returns the closed connections as they came.
func (r *Recorder) Closes() []*networkservice.Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*networkservice.Connection(nil), r.closes...)
}

func (r *Recorder) request(ctx context.Context, request *networkservice.NetworkServiceRequest, pass func() (*networkservice.Connection, error)) (*networkservice.Connection, error) {
	r.mu.Lock()
	r.requests = append(r.requests, request.Clone())
	r.mu.Unlock()
	if r.OnRequest != nil {
		if err := r.OnRequest(ctx, request); err != nil {
			return nil, err
		}
	}
	conn, err := pass()
	if err == nil && r.OnReply != nil {
		if err := r.OnReply(ctx, conn); err != nil {
			return nil, err
		}
	}
	return conn, err
}

func (r *Recorder) close(ctx context.Context, conn *networkservice.Connection) error {
	r.mu.Lock()
	r.closes = append(r.closes, conn.Clone())
	r.mu.Unlock()
	if r.OnClose != nil {
		return r.OnClose(ctx, conn)
	}
	return nil
}

// Server is a Recorder for server chains.
type Server struct{ Recorder }

// Request implements networkservice.NetworkServiceServer.
func (s *Server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return s.request(ctx, request, func() (*networkservice.Connection, error) {
		return next.Server(ctx).Request(ctx, request)
	})
}

// Close implements networkservice.NetworkServiceServer.
func (s *Server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := s.close(ctx, conn); err != nil {
		return nil, err
	}
	return next.Server(ctx).Close(ctx, conn)
}

// Client is a Recorder for client chains.
type Client struct{ Recorder }

// Request implements networkservice.NetworkServiceClient.
func (c *Client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return c.request(ctx, request, func() (*networkservice.Connection, error) {
		return next.Client(ctx).Request(ctx, request, opts...)
	})
}

// Close implements networkservice.NetworkServiceClient.
func (c *Client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if err := c.close(ctx, conn); err != nil {
		return nil, err
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}
