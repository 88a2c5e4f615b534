// SPDX-License-Identifier: Apache-2.0

package grpcutils

import (
	"context"
	"strconv"

	"google.golang.org/grpc/metadata"
)

// TraceState says whether a call asks for its own tracing.
type TraceState int

// The states of tracing of a call.
const (
	TraceUndefined TraceState = iota
	TraceOn
	TraceOff
)

// traceKey is the metadata key of the state, written as a decimal number.
const traceKey = "GrpcTracing"

// TraceFromContext returns the state that came with the call of ctx.
func TraceFromContext(ctx context.Context) TraceState {
	values := metadata.ValueFromIncomingContext(ctx, traceKey)
	if len(values) == 0 {
		return TraceUndefined
	}
	state, err := strconv.Atoi(values[len(values)-1])
	if err != nil {
		return TraceUndefined
	}
	return TraceState(state)
}

// WithTrace returns a context whose outgoing calls carry state.
func WithTrace(ctx context.Context, state TraceState) context.Context {
	return metadata.AppendToOutgoingContext(ctx, traceKey, strconv.Itoa(int(state)))
}

// PassTraceToOutgoing returns a context whose outgoing calls carry the state of
// the incoming one, unless they carry one already.
func PassTraceToOutgoing(ctx context.Context) context.Context {
	if md, ok := metadata.FromOutgoingContext(ctx); ok && len(md.Get(traceKey)) > 0 {
		return ctx
	}
	return WithTrace(ctx, TraceFromContext(ctx))
}
