// SPDX-License-Identifier: Apache-2.0

package spanlogger

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/opentelemetry"
)

const tracerName = "github.com/networkservicemesh/sdk"

// FromContext starts a span named operation as a child of that in ctx and
// returns a logger that writes to it. The returned function ends the span.
// Without OpenTelemetry the logger writes nothing.
func FromContext(ctx context.Context, operation, methodName string, fields []*log.Field) (context.Context, log.Logger, Span, func()) {
	if !opentelemetry.IsEnabled() {
		span := otelSpan{trace.SpanFromContext(context.Background())}
		return ctx, log.Empty(), span, func() {}
	}
	attributes := make([]attribute.KeyValue, 0, len(fields)+1)
	attributes = append(attributes, attribute.String("method", methodName))
	for _, field := range fields {
		attributes = append(attributes, attribute.String(field.Key(), fmt.Sprint(field.Val())))
	}
	ctx, started := otel.Tracer(tracerName).Start(ctx, operation, trace.WithAttributes(attributes...))
	span := otelSpan{started}
	return ctx, &spanLogger{span: span}, span, span.Finish
}

type spanLogger struct{ span Span }

func (l *spanLogger) Info(v ...interface{})             { l.span.Log("info", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Infof(f string, v ...interface{})  { l.span.Log("info", f, v...) }
func (l *spanLogger) Warn(v ...interface{})             { l.span.Log("warn", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Warnf(f string, v ...interface{})  { l.span.Log("warn", f, v...) }
func (l *spanLogger) Error(v ...interface{})            { l.span.Log("error", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Errorf(f string, v ...interface{}) { l.span.Log("error", f, v...) }
func (l *spanLogger) Fatal(v ...interface{})            { l.span.Log("fatal", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Fatalf(f string, v ...interface{}) { l.span.Log("fatal", f, v...) }
func (l *spanLogger) Debug(v ...interface{})            { l.span.Log("debug", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Debugf(f string, v ...interface{}) { l.span.Log("debug", f, v...) }
func (l *spanLogger) Trace(v ...interface{})            { l.span.Log("trace", "%s", fmt.Sprint(v...)) }
func (l *spanLogger) Tracef(f string, v ...interface{}) { l.span.Log("trace", f, v...) }
func (l *spanLogger) Object(k, v interface{})           { l.span.LogObject(k, v) }

func (l *spanLogger) WithField(key, value interface{}) log.Logger {
	return &spanLogger{span: l.span.WithField(key, value)}
}
