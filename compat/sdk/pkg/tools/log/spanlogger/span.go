// SPDX-License-Identifier: Apache-2.0

// Package spanlogger writes log lines as events of an OpenTelemetry span.
package spanlogger

import (
	"encoding/json"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Span is an operation under way that takes log lines.
type Span interface {
	Log(level, format string, v ...interface{})
	LogObject(k, v interface{})
	WithField(k, v interface{}) Span
	Finish()

	// ToString returns the id of the span, or "" if it is not recorded.
	ToString() string
}

type otelSpan struct{ span trace.Span }

func (s otelSpan) Log(level, format string, v ...interface{}) {
	if !s.span.IsRecording() {
		return
	}
	s.span.AddEvent(fmt.Sprintf(format, v...), trace.WithAttributes(attribute.String("level", level)))
}

func (s otelSpan) LogObject(k, v interface{}) {
	if !s.span.IsRecording() {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte(fmt.Sprint(v))
	}
	s.span.AddEvent(fmt.Sprint(k), trace.WithAttributes(attribute.String("value", string(text))))
}

func (s otelSpan) WithField(k, v interface{}) Span {
	s.span.SetAttributes(attribute.String(fmt.Sprint(k), fmt.Sprint(v)))
	return s
}

func (s otelSpan) Finish() { s.span.End() }

func (s otelSpan) ToString() string {
	if id := s.span.SpanContext().SpanID(); id.IsValid() {
		return id.String()
	}
	return ""
}
