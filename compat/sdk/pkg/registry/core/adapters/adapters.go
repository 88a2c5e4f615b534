// SPDX-License-Identifier: Apache-2.0

// Package adapters turns registry clients into servers and back, in process.
// The adapted element's next is the next of the place where the adapter stands.
package adapters

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/streamchannel"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// NetworkServiceClientToServer returns client as a server.
func NetworkServiceClientToServer(client registry.NetworkServiceRegistryClient) registry.NetworkServiceRegistryServer {
	return &asServer[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv, either.NSSend]{client: client, pipe: nsPipe}
}

// NetworkServiceServerToClient returns server as a client.
func NetworkServiceServerToClient(server registry.NetworkServiceRegistryServer) registry.NetworkServiceRegistryClient {
	return &asClient[either.NS, either.NSQuery, either.NSAnswer, either.NSRecv, either.NSSend]{server: server, pipe: nsPipe}
}

// NetworkServiceEndpointClientToServer returns client as a server.
func NetworkServiceEndpointClientToServer(client registry.NetworkServiceEndpointRegistryClient) registry.NetworkServiceEndpointRegistryServer {
	return &asServer[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv, either.NSESend]{client: client, pipe: nsePipe}
}

// NetworkServiceEndpointServerToClient returns server as a client.
func NetworkServiceEndpointServerToClient(server registry.NetworkServiceEndpointRegistryServer) registry.NetworkServiceEndpointRegistryClient {
	return &asClient[either.NSE, either.NSEQuery, either.NSEAnswer, either.NSERecv, either.NSESend]{server: server, pipe: nsePipe}
}

// pipe returns the two ends of a stream, and what ends it with an error or,
// with nil, without one.
type pipe[C, S any] func(ctx context.Context) (C, S, func(error))

func nsPipe(ctx context.Context) (either.NSRecv, either.NSSend, func(error)) {
	ch := make(chan either.NSAnswer)
	recv, end := ending(streamchannel.NewNetworkServiceFindClient(ctx, ch), ch)
	return recv, streamchannel.NewNetworkServiceFindServer(ctx, ch), end
}

func nsePipe(ctx context.Context) (either.NSERecv, either.NSESend, func(error)) {
	ch := make(chan either.NSEAnswer)
	recv, end := ending(streamchannel.NewNetworkServiceEndpointFindClient(ctx, ch), ch)
	return recv, streamchannel.NewNetworkServiceEndpointFindServer(ctx, ch), end
}

// ending lets the stream end with the error of the server, which is set before
// the channel is closed.
func ending[R any, C either.RecvStream[R]](stream C, ch chan R) (C, func(error)) {
	var result error
	recv := func() (R, error) {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) && result != nil {
			err = result
		}
		return response, err
	}
	return either.RecvWith(stream, recv), func(err error) {
		result = err
		close(ch)
	}
}

type asServer[T, Q, R any, C either.RecvStream[R], S either.SendStream[R]] struct {
	client either.Client[T, Q, C]
	pipe   pipe[C, S]
}

func (a *asServer[T, Q, R, C, S]) Register(ctx context.Context, in T) (T, error) {
	return a.chain(ctx).Register(ctx, in)
}

func (a *asServer[T, Q, R, C, S]) Find(in Q, stream S) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	from, err := a.chain(ctx).Find(ctx, in)
	if err != nil {
		return err
	}
	return either.Pump[R](from, stream)
}

func (a *asServer[T, Q, R, C, S]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return a.chain(ctx).Unregister(ctx, in)
}

func (a *asServer[T, Q, R, C, S]) chain(ctx context.Context) either.Client[T, Q, C] {
	rest := &asClient[T, Q, R, C, S]{server: either.NextServer[T, Q, S](ctx), pipe: a.pipe}
	return either.ClientChain[T, Q, C]{a.client, rest}
}

type asClient[T, Q, R any, C either.RecvStream[R], S either.SendStream[R]] struct {
	server either.Server[T, Q, S]
	pipe   pipe[C, S]
}

func (a *asClient[T, Q, R, C, S]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return a.chain(ctx, opts).Register(ctx, in)
}

// Find runs the server's Find until it ends or ctx does.
func (a *asClient[T, Q, R, C, S]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (C, error) {
	recv, send, end := a.pipe(ctx)
	server := a.chain(ctx, opts)
	go func() { end(server.Find(in, send)) }()
	return recv, nil
}

func (a *asClient[T, Q, R, C, S]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return a.chain(ctx, opts).Unregister(ctx, in)
}

func (a *asClient[T, Q, R, C, S]) chain(ctx context.Context, opts []grpc.CallOption) either.Server[T, Q, S] {
	rest := &onward[T, Q, R, C, S]{client: either.NextClient[T, Q, C](ctx), opts: opts}
	return either.ServerChain[T, Q, S]{a.server, rest}
}

// onward continues a server chain with the rest of the client chain that the
// adapter stands in.
type onward[T, Q, R any, C either.RecvStream[R], S either.SendStream[R]] struct {
	client either.Client[T, Q, C]
	opts   []grpc.CallOption
}

func (o *onward[T, Q, R, C, S]) Register(ctx context.Context, in T) (T, error) {
	return o.client.Register(ctx, in, o.opts...)
}

func (o *onward[T, Q, R, C, S]) Find(in Q, stream S) error {
	from, err := o.client.Find(stream.Context(), in, o.opts...)
	if err != nil {
		return err
	}
	return either.Pump[R](from, stream)
}

func (o *onward[T, Q, R, C, S]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return o.client.Unregister(ctx, in, o.opts...)
}
