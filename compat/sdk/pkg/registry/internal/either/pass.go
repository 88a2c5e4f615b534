// SPDX-License-Identifier: Apache-2.0

package either

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// PassClient hands every call to the next element. Embedded, it is what an
// element does with the calls that do not concern it.
type PassClient[T, Q, F any] struct{}

// Register implements Client.
func (PassClient[T, Q, F]) Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error) {
	return NextClient[T, Q, F](ctx).Register(ctx, in, opts...)
}

// Find implements Client.
func (PassClient[T, Q, F]) Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error) {
	return NextClient[T, Q, F](ctx).Find(ctx, in, opts...)
}

// Unregister implements Client.
func (PassClient[T, Q, F]) Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return NextClient[T, Q, F](ctx).Unregister(ctx, in, opts...)
}

// PassServer is PassClient for servers.
type PassServer[T, Q any, F Stream] struct{}

// Register implements Server.
func (PassServer[T, Q, F]) Register(ctx context.Context, in T) (T, error) {
	return NextServer[T, Q, F](ctx).Register(ctx, in)
}

// Find implements Server.
func (PassServer[T, Q, F]) Find(in Q, stream F) error {
	return NextServer[T, Q, F](stream.Context()).Find(in, stream)
}

// Unregister implements Server.
func (PassServer[T, Q, F]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	return NextServer[T, Q, F](ctx).Unregister(ctx, in)
}
