// SPDX-License-Identifier: Apache-2.0

// Package traceverbose logs, for each element of a chain, how it changed what
// went through it. It copies and compares messages and is meant for level
// trace only.
package traceverbose

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/log/logruslogger"
	"github.com/networkservicemesh/sdk/pkg/tools/log/spanlogger"
)

type passageKey struct{}

// passage remembers what was logged last on the way in and on the way out.
type passage struct {
	mu             sync.Mutex
	request, reply proto.Message
	err            error
}

func enabled(ctx context.Context) bool {
	if log.IsTracingEnabled() {
		return grpcutils.TraceFromContext(ctx) != grpcutils.TraceOff
	}
	return grpcutils.TraceFromContext(ctx) == grpcutils.TraceOn
}

// call runs f, one element's operation on message.
func call[T proto.Message](ctx context.Context, operation string, message proto.Message, f func(context.Context) (T, error)) (T, error) {
	p, ok := ctx.Value(passageKey{}).(*passage)
	if !ok {
		p = new(passage)
		ctx = context.WithValue(grpcutils.PassTraceToOutgoing(ctx), passageKey{}, p)
	}
	ctx, spanLog, span, end := spanlogger.FromContext(ctx, operation, operation, nil)
	defer end()
	_, textLog, _ := logruslogger.FromSpan(ctx, span, operation, nil)
	ctx = log.WithLog(ctx, spanLog, textLog)

	logger := log.FromContext(ctx)
	p.changed(logger, "request", &p.request, message)
	reply, err := f(ctx)
	if err != nil {
		p.failed(logger, err)
		return reply, err
	}
	p.changed(logger, "response", &p.reply, reply)
	return reply, nil
}

func (p *passage) changed(logger log.Logger, name string, last *proto.Message, message proto.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := *last
	*last = proto.Clone(message)
	if was == nil || was.ProtoReflect().Descriptor() != message.ProtoReflect().Descriptor() {
		logger.Object(name, message)
		return
	}
	if diff, differs := Diff(was.ProtoReflect(), message.ProtoReflect()); differs {
		logger.Object(name+"-diff", diff)
	}
}

func (p *passage) failed(logger log.Logger, err error) {
	p.mu.Lock()
	known := p.err != nil && errors.Is(err, p.err)
	p.err = err
	p.mu.Unlock()
	if !known {
		logger.Errorf("%v", err)
	}
}
