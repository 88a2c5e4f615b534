// SPDX-License-Identifier: Apache-2.0

// Package log is the logging interface that every package of the SDK writes
// to. A logger travels in the context; where there is none the global logger
// is used.
package log

import (
	"context"
	"sync/atomic"
)

// Logger writes lines at a level. WithField returns a logger that adds the
// field to each line and leaves its receiver as it was.
type Logger interface {
	Info(v ...interface{})
	Infof(format string, v ...interface{})
	Warn(v ...interface{})
	Warnf(format string, v ...interface{})
	Error(v ...interface{})
	Errorf(format string, v ...interface{})
	// Fatal writes the line and ends the process with status 1.
	Fatal(v ...interface{})
	Fatalf(format string, v ...interface{})
	Debug(v ...interface{})
	Debugf(format string, v ...interface{})
	Trace(v ...interface{})
	Tracef(format string, v ...interface{})

	// Object writes v as JSON under the name k, at level info.
	Object(k, v interface{})

	WithField(key, value interface{}) Logger
}

type contextKey struct{}

// holder lets loggers of different types share one atomic.Value.
type holder struct{ Logger }

var (
	global  atomic.Value
	tracing atomic.Bool
)

func init() { global.Store(holder{Default()}) }

// L returns the global logger.
func L() Logger { return global.Load().(holder).Logger }

// SetGlobalLogger sets the logger for contexts that carry none.
func SetGlobalLogger(logger Logger) { global.Store(holder{logger}) }

// FromContext returns the logger of ctx, or the global one.
func FromContext(ctx context.Context) Logger {
	if logger, ok := ctx.Value(contextKey{}).(Logger); ok {
		return logger
	}
	return L()
}

// Join returns a context whose logger writes to that of ctx, if there is one,
// and to log.
func Join(ctx context.Context, log Logger) context.Context {
	if logger, ok := ctx.Value(contextKey{}).(Logger); ok {
		return WithLog(ctx, logger, log)
	}
	return WithLog(ctx, log)
}

// WithLog returns a context whose logger writes to all the given ones. Without
// any it returns ctx.
func WithLog(ctx context.Context, log ...Logger) context.Context {
	switch len(log) {
	case 0:
		return ctx
	case 1:
		return context.WithValue(ctx, contextKey{}, log[0])
	}
	return context.WithValue(ctx, contextKey{}, Combine(log...))
}

// IsTracingEnabled says whether chains trace the passage of requests.
func IsTracingEnabled() bool { return tracing.Load() }

// EnableTracing switches tracing of chains on or off for the whole process.
func EnableTracing(enable bool) { tracing.Store(enable) }
