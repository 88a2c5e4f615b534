// SPDX-License-Identifier: Apache-2.0

// Package streamchannel makes the streams of a Find out of Go channels.
package streamchannel

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// NewNetworkServiceFindClient returns a stream that receives from recvCh. Recv
// returns io.EOF when recvCh is closed, and an error when ctx is done.
func NewNetworkServiceFindClient(ctx context.Context, recvCh <-chan *registry.NetworkServiceResponse) registry.NetworkServiceRegistry_FindClient {
	return &receiver[*registry.NetworkServiceResponse]{ctx: ctx, ch: recvCh}
}

// NewNetworkServiceEndpointFindClient returns a stream that receives from
// recvCh. Recv returns io.EOF when recvCh is closed, and an error when ctx is done.
func NewNetworkServiceEndpointFindClient(ctx context.Context, recvCh <-chan *registry.NetworkServiceEndpointResponse) registry.NetworkServiceEndpointRegistry_FindClient {
	return &receiver[*registry.NetworkServiceEndpointResponse]{ctx: ctx, ch: recvCh}
}

// NewNetworkServiceFindServer returns a stream that sends to sendCh. Send waits
// for the receiver, and returns an error when ctx is done.
func NewNetworkServiceFindServer(ctx context.Context, sendCh chan<- *registry.NetworkServiceResponse) registry.NetworkServiceRegistry_FindServer {
	return &sender[*registry.NetworkServiceResponse]{ctx: ctx, ch: sendCh}
}

// NewNetworkServiceEndpointFindServer returns a stream that sends to sendCh.
// Send waits for the receiver, and returns an error when ctx is done.
func NewNetworkServiceEndpointFindServer(ctx context.Context, sendCh chan<- *registry.NetworkServiceEndpointResponse) registry.NetworkServiceEndpointRegistry_FindServer {
	return &sender[*registry.NetworkServiceEndpointResponse]{ctx: ctx, ch: sendCh}
}

type receiver[R any] struct {
	grpc.ClientStream
	ctx context.Context
	ch  <-chan R
}

func (r *receiver[R]) Context() context.Context { return r.ctx }

func (r *receiver[R]) CloseSend() error { return nil }

func (r *receiver[R]) Recv() (R, error) {
	var none R
	select {
	case response, ok := <-r.ch:
		if !ok {
			return none, io.EOF
		}
		return response, nil
	case <-r.ctx.Done():
	}
	// What was sent before the end is still delivered.
	select {
	case response, ok := <-r.ch:
		if ok {
			return response, nil
		}
		return none, io.EOF
	default:
		return none, fmt.Errorf("receive: %w", r.ctx.Err())
	}
}

type sender[R any] struct {
	grpc.ServerStream
	ctx context.Context
	ch  chan<- R
}

func (s *sender[R]) Context() context.Context { return s.ctx }

func (s *sender[R]) Send(response R) error {
	select {
	case s.ch <- response:
		return nil
	default:
	}
	select {
	case s.ch <- response:
		return nil
	case <-s.ctx.Done():
		return fmt.Errorf("send: %w", s.ctx.Err())
	}
}
