// SPDX-License-Identifier: Apache-2.0

// Package clock is time as chains see it: the real one, or one that a test
// puts into the context.
package clock

import (
	"context"
	"time"
)

// Clock is the part of package time that depends on the present.
type Clock interface {
	Now() time.Time
	Since(t time.Time) time.Duration
	Until(t time.Time) time.Duration

	Sleep(d time.Duration)

	Timer(d time.Duration) Timer
	After(d time.Duration) <-chan time.Time
	// AfterFunc calls f in a goroutine of its own. The C of its Timer is nil.
	AfterFunc(d time.Duration, f func()) Timer

	Ticker(d time.Duration) Ticker

	WithDeadline(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc)
	WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc)
}

// Timer is time.Timer.
type Timer interface {
	C() <-chan time.Time
	Stop() bool
	Reset(d time.Duration) bool
}

// Ticker is time.Ticker.
type Ticker interface {
	C() <-chan time.Time
	Stop()
	Reset(d time.Duration)
}

type contextKey struct{}

// WithClock returns a context in which clock is the time.
func WithClock(parent context.Context, clock Clock) context.Context {
	return context.WithValue(parent, contextKey{}, clock)
}

// FromContext returns the clock of ctx: the real one unless WithClock put
// another there.
func FromContext(ctx context.Context) Clock {
	if c, ok := ctx.Value(contextKey{}).(Clock); ok {
		return c
	}
	return wall{}
}
