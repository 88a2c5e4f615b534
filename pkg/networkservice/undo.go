// SPDX-License-Identifier: Apache-2.0

// Package networkservice holds the elements that the forwarder adds to an SDK
// chain, one package each, and what they share.
//
// An element negotiates and makes nothing by itself: the mechanisms leave a
// port of the plane in the connection's metadata, and xconnect hands both to
// the plane. The order of the whole chain stands in chains/forwarder.
package networkservice

import (
	"context"
	"errors"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"google.golang.org/grpc"
)

type establishedKey struct{}

// SetEstablished notes that the connection carries packets. From then on a
// request is a refresh, and one that fails leaves the connection as it was.
func SetEstablished(ctx context.Context) {
	metadata.Map(ctx, false).Store(establishedKey{}, true)
}

func established(ctx context.Context) bool {
	_, ok := metadata.Map(ctx, false).Load(establishedKey{})
	return ok
}

// UndoServer closes what the rest of a server chain has made for conn, after
// this element failed with cause; a connection that was established before is
// left alone. closeCtx comes from postpone.ContextWithValues, called before the request
// went down the chain: it outlives the request's deadline. The result is cause,
// joined with the error of closing if there is one.
func UndoServer(
	ctx context.Context, closeCtx func() (context.Context, context.CancelFunc), conn *networkservice.Connection, cause error,
) error {
	if established(ctx) {
		return cause
	}
	undoCtx, cancel := closeCtx()
	defer cancel()
	if _, err := next.Server(ctx).Close(undoCtx, conn); err != nil {
		return errors.Join(cause, fmt.Errorf("undo: %w", err))
	}
	return cause
}

// UndoClient is UndoServer for client chains.
func UndoClient(
	ctx context.Context, closeCtx func() (context.Context, context.CancelFunc), conn *networkservice.Connection, cause error,
	opts ...grpc.CallOption,
) error {
	if established(ctx) {
		return cause
	}
	undoCtx, cancel := closeCtx()
	defer cancel()
	if _, err := next.Client(ctx).Close(undoCtx, conn, opts...); err != nil {
		return errors.Join(cause, fmt.Errorf("undo: %w", err))
	}
	return cause
}
