// SPDX-License-Identifier: Apache-2.0

// Package connect leaves the process: its clients make the gRPC call, its
// servers continue a server chain with a client chain.
package connect

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

var errNotConnected = errors.New("call registry: there is no connection; is the URL to dial set?")

// NewNetworkServiceRegistryClient returns a client that calls over the
// connection in the context (package clientconn).
func NewNetworkServiceRegistryClient() registry.NetworkServiceRegistryClient {
	type remote = either.Client[either.NS, either.NSQuery, either.NSRecv]
	return &client[either.NS, either.NSQuery, either.NSRecv]{stub: func(cc grpc.ClientConnInterface) remote {
		return registry.NewNetworkServiceRegistryClient(cc)
	}}
}

// NewNetworkServiceEndpointRegistryClient returns a client that calls over the
// connection in the context (package clientconn).
func NewNetworkServiceEndpointRegistryClient() registry.NetworkServiceEndpointRegistryClient {
	type remote = either.Client[either.NSE, either.NSEQuery, either.NSERecv]
	return &client[either.NSE, either.NSEQuery, either.NSERecv]{stub: func(cc grpc.ClientConnInterface) remote {
		return registry.NewNetworkServiceEndpointRegistryClient(cc)
	}}
}

// NewNetworkServiceRegistryServer returns a server that calls client, and the
// next server with client's answer. If that server refuses, what client
// registered is unregistered.
func NewNetworkServiceRegistryServer(client registry.NetworkServiceRegistryClient, callOptions ...grpc.CallOption) registry.NetworkServiceRegistryServer {
	return &server[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv, either.NSSend]{client: client, opts: callOptions}
}

// NewNetworkServiceEndpointRegistryServer is the same for endpoints.
func NewNetworkServiceEndpointRegistryServer(client registry.NetworkServiceEndpointRegistryClient, callOptions ...grpc.CallOption) registry.NetworkServiceEndpointRegistryServer {
	return &server[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv, either.NSESend]{client: client, opts: callOptions}
}

type client[T, Q, F any] struct {
	stub func(grpc.ClientConnInterface) either.Client[T, Q, F]
}

func (c *client[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	cc, ok := clientconn.Load(ctx)
	if !ok {
		var none T
		return none, errNotConnected
	}
	return c.stub(cc).Register(ctx, in, opts...)
}

func (c *client[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	cc, ok := clientconn.Load(ctx)
	if !ok {
		var none F
		return none, errNotConnected
	}
	return c.stub(cc).Find(ctx, in, opts...)
}

func (c *client[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	cc, ok := clientconn.Load(ctx)
	if !ok {
		return nil, errNotConnected
	}
	return c.stub(cc).Unregister(ctx, in, opts...)
}

type server[T either.Resource[T], Q, R any, C either.RecvStream[R], S either.SendStream[R]] struct {
	client either.Client[T, Q, C]
	opts   []grpc.CallOption
}

func (s *server[T, Q, R, C, S]) Register(ctx context.Context, in T) (T, error) {
	answer, err := s.client.Register(ctx, in, s.opts...)
	if err != nil {
		return answer, err
	}
	out, err := either.NextServer[T, Q, S](ctx).Register(ctx, answer.Clone())
	if err != nil {
		if _, undoErr := s.client.Unregister(ctx, answer, s.opts...); undoErr != nil {
			err = errors.Join(err, undoErr)
		}
	}
	return out, err
}

func (s *server[T, Q, R, C, S]) Find(in Q, stream S) error {
	// gRPC frees a client stream when it ends or its context does.
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	from, err := s.client.Find(ctx, in, s.opts...)
	if err != nil {
		return err
	}
	if err := either.Pump[R](from, stream); err != nil {
		return err
	}
	return either.NextServer[T, Q, S](stream.Context()).Find(in, stream)
}

func (s *server[T, Q, R, C, S]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	_, err := s.client.Unregister(ctx, in.Clone(), s.opts...)
	out, nextErr := either.NextServer[T, Q, S](ctx).Unregister(ctx, in)
	if err = errors.Join(err, nextErr); err != nil {
		return nil, err
	}
	return out, nil
}
