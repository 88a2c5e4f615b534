// SPDX-License-Identifier: Apache-2.0

// Package traceconcise logs what is worth a line outside debugging of the
// chains themselves: where an error comes from, and at level debug what a hop
// was asked and answered. With OpenTelemetry each hop is one span.
package traceconcise

import (
	"context"
	"errors"
	"sync"

	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/proto"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
	"github.com/networkservicemesh/sdk/pkg/tools/log/spanlogger"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
)

type hopKey struct{}

// hop is one request's passage through the chains of one process.
type hop struct {
	mu  sync.Mutex
	err error // the last one that was logged
}

// enabled says whether calls of ctx are traced: they ask for it, or the process
// traces and they do not forbid it.
func enabled(ctx context.Context) bool {
	if log.IsTracingEnabled() {
		return ctx.Value(hopKey{}) != nil || grpcutils.TraceFromContext(ctx) != grpcutils.TraceOff
	}
	return ctx.Value(hopKey{}) != nil || grpcutils.TraceFromContext(ctx) == grpcutils.TraceOn
}

// call runs f, one element's operation on message.
func call[T proto.Message](ctx context.Context, operation string, message proto.Message, f func(context.Context) (T, error)) (T, error) {
	h, _ := ctx.Value(hopKey{}).(*hop)
	first := h == nil
	end := func() {}
	if first {
		h = new(hop)
		ctx, end = h.begin(ctx, operation)
		if logrus.IsLevelEnabled(logrus.DebugLevel) {
			log.FromContext(ctx).Object("request", message)
		}
	}
	reply, err := f(ctx)
	if err != nil {
		h.report(ctx, operation, err)
	} else if first && logrus.IsLevelEnabled(logrus.DebugLevel) {
		log.FromContext(ctx).Object("response", reply)
	}
	end()
	return reply, err
}

func (h *hop) begin(ctx context.Context, operation string) (context.Context, func()) {
	ctx = context.WithValue(grpcutils.PassTraceToOutgoing(ctx), hopKey{}, h)
	if !opentelemetry.IsEnabled() {
		return ctx, func() {}
	}
	ctx, spanLog, span, end := spanlogger.FromContext(ctx, operation, operation, nil)
	_, textLog, _ := logruslogger.FromSpan(ctx, span, operation, nil)
	return log.WithLog(ctx, spanLog, textLog), end
}

// report logs err unless it is, or wraps, the one that an inner element has
// returned.
func (h *hop) report(ctx context.Context, operation string, err error) {
	h.mu.Lock()
	known := h.err != nil && errors.Is(err, h.err)
	h.err = err
	h.mu.Unlock()
	if !known {
		log.FromContext(ctx).Errorf("%s: %v", operation, err)
	}
}
