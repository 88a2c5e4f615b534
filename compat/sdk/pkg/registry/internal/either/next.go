// SPDX-License-Identifier: Apache-2.0

package either

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/streamchannel"
	"github.com/networkservicemesh/sdk/pkg/registry/core/streamcontext"
)

// The keys of the next element in a context: one for each resource type.
type (
	nextClientKey[T any] struct{}
	nextServerKey[T any] struct{}
)

// NextClient returns the element after the one that ctx was given to. After
// the last it is one that answers with its input, and to a Find with nothing.
func NextClient[T, Q, F any](ctx context.Context) Client[T, Q, F] {
	if next, ok := ctx.Value(nextClientKey[T]{}).(Client[T, Q, F]); ok {
		return next
	}
	return tailClient[T, Q, F]{}
}

// NextServer returns the element after the one that ctx was given to. After
// the last it is one that answers with its input, and to a Find with nothing.
func NextServer[T, Q, F any](ctx context.Context) Server[T, Q, F] {
	if next, ok := ctx.Value(nextServerKey[T]{}).(Server[T, Q, F]); ok {
		return next
	}
	return tailServer[T, Q, F]{}
}

// ClientChain calls its elements one after the other; the last one's next is
// the next of the chain itself.
type ClientChain[T, Q, F any] []Client[T, Q, F]

// Register implements Client.
func (c ClientChain[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return c.start(ctx).Register(ctx, in, opts...)
}

// Find implements Client.
func (c ClientChain[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	return c.start(ctx).Find(ctx, in, opts...)
}

// Unregister implements Client.
func (c ClientChain[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return c.start(ctx).Unregister(ctx, in, opts...)
}

func (c ClientChain[T, Q, F]) start(ctx context.Context) Client[T, Q, F] {
	return clientStep[T, Q, F]{rest: c, after: NextClient[T, Q, F](ctx)}
}

// clientStep calls the first of rest with a context that leads to the others.
type clientStep[T, Q, F any] struct {
	rest  ClientChain[T, Q, F]
	after Client[T, Q, F]
}

func (s clientStep[T, Q, F]) advance(ctx context.Context) (context.Context, Client[T, Q, F]) {
	if len(s.rest) == 0 {
		return ctx, s.after
	}
	next := clientStep[T, Q, F]{rest: s.rest[1:], after: s.after}
	return context.WithValue(ctx, nextClientKey[T]{}, Client[T, Q, F](next)), s.rest[0]
}

func (s clientStep[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	ctx, element := s.advance(ctx)
	return element.Register(ctx, in, opts...)
}

func (s clientStep[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	ctx, element := s.advance(ctx)
	return element.Find(ctx, in, opts...)
}

func (s clientStep[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	ctx, element := s.advance(ctx)
	return element.Unregister(ctx, in, opts...)
}

// ServerChain is ClientChain for servers.
type ServerChain[T, Q any, F Stream] []Server[T, Q, F]

// Register implements Server.
func (c ServerChain[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return c.start(ctx).Register(ctx, in)
}

// Find implements Server.
func (c ServerChain[T, Q, F]) Find(in Q, stream F) error {
	return c.start(stream.Context()).Find(in, stream)
}

// Unregister implements Server.
func (c ServerChain[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return c.start(ctx).Unregister(ctx, in)
}

func (c ServerChain[T, Q, F]) start(ctx context.Context) Server[T, Q, F] {
	return serverStep[T, Q, F]{rest: c, after: NextServer[T, Q, F](ctx)}
}

type serverStep[T, Q any, F Stream] struct {
	rest  ServerChain[T, Q, F]
	after Server[T, Q, F]
}

func (s serverStep[T, Q, F]) advance(ctx context.Context) (context.Context, Server[T, Q, F]) {
	if len(s.rest) == 0 {
		return ctx, s.after
	}
	next := serverStep[T, Q, F]{rest: s.rest[1:], after: s.after}
	return context.WithValue(ctx, nextServerKey[T]{}, Server[T, Q, F](next)), s.rest[0]
}

func (s serverStep[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	ctx, element := s.advance(ctx)
	return element.Register(ctx, in)
}

func (s serverStep[T, Q, F]) Find(in Q, stream F) error {
	ctx, element := s.advance(stream.Context())
	return element.Find(in, StreamWithContext(ctx, stream))
}

func (s serverStep[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	ctx, element := s.advance(ctx)
	return element.Unregister(ctx, in)
}

type tailClient[T, Q, F any] struct{}

func (tailClient[T, Q, F]) Register(_ context.Context, in T, _ ...grpc.CallOption) (T, error) {
	return in, nil
}

// Find returns a stream without responses. It ends at once, or if the query
// watches, with ctx.
func (tailClient[T, Q, F]) Find(ctx context.Context, in Q, _ ...grpc.CallOption) (F, error) {
	query, ok := any(in).(Query)
	return emptyStream[F](ctx, ok && query.GetWatch()), nil
}

func (tailClient[T, Q, F]) Unregister(context.Context, T, ...grpc.CallOption) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

type tailServer[T, Q, F any] struct{}

func (tailServer[T, Q, F]) Register(_ context.Context, in T) (T, error) {
	return in, nil
}

func (tailServer[T, Q, F]) Find(Q, F) error {
	return nil
}

func (tailServer[T, Q, F]) Unregister(context.Context, T) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

func emptyStream[F any](ctx context.Context, open bool) F {
	var stream F
	switch s := any(&stream).(type) {
	case *registry.NetworkServiceRegistry_FindClient:
		ch := make(chan *registry.NetworkServiceResponse)
		if !open {
			close(ch)
		}
		*s = streamchannel.NewNetworkServiceFindClient(ctx, ch)
	case *registry.NetworkServiceEndpointRegistry_FindClient:
		ch := make(chan *registry.NetworkServiceEndpointResponse)
		if !open {
			close(ch)
		}
		*s = streamchannel.NewNetworkServiceEndpointFindClient(ctx, ch)
	}
	return stream
}

// StreamWithContext returns stream with ctx in place of its own context.
func StreamWithContext[F any](ctx context.Context, stream F) F {
	var with any = stream
	switch s := any(&stream).(type) {
	case *registry.NetworkServiceRegistry_FindClient:
		with = streamcontext.NetworkServiceRegistryFindClient(ctx, *s)
	case *registry.NetworkServiceRegistry_FindServer:
		with = streamcontext.NetworkServiceRegistryFindServer(ctx, *s)
	case *registry.NetworkServiceEndpointRegistry_FindClient:
		with = streamcontext.NetworkServiceEndpointRegistryFindClient(ctx, *s)
	case *registry.NetworkServiceEndpointRegistry_FindServer:
		with = streamcontext.NetworkServiceEndpointRegistryFindServer(ctx, *s)
	}
	return with.(F)
}
