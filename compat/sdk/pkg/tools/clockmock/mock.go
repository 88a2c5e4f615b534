// SPDX-License-Identifier: Apache-2.0

// Package clockmock is a clock that stands still until it is told to go on.
package clockmock

import (
	"context"
	"sync"
	"time"

	"github.com/networkservicemesh/sdk/pkg/tools/clock"
)

// speedStep is how often a clock with a speed is advanced.
const speedStep = time.Millisecond

// Mock is a clock.Clock for tests. It starts at the real time.
type Mock struct {
	ctx context.Context

	mu     sync.Mutex
	now    time.Time
	timers map[*timer]struct{} // those that are running
	halt   context.CancelFunc  // ends the flow that SetSpeed started
}

// New returns a clock that stands still. A flow of time that SetSpeed starts
// ends with ctx.
func New(ctx context.Context) *Mock {
	return &Mock{ctx: ctx, now: time.Now(), timers: make(map[*timer]struct{}), halt: func() {}}
}

// SetSpeed lets time flow at speed times that of the real time; 0 stops it.
func (m *Mock) SetSpeed(speed float64) {
	ctx, cancel := context.WithCancel(m.ctx)
	m.mu.Lock()
	m.halt()
	m.halt = cancel
	m.mu.Unlock()
	if speed <= 0 {
		cancel()
		return
	}
	go func() {
		ticker := time.NewTicker(speedStep)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				passed := time.Since(last)
				last = last.Add(passed)
				m.Add(time.Duration(float64(passed) * speed))
			}
		}
	}()
}

// Set moves the clock forward to t.
func (m *Mock) Set(t time.Time) { m.Add(t.Sub(m.Now())) }

// Add moves the clock forward by d. Timers that expire on the way do so in
// their order, each seeing its own time as the present.
func (m *Mock) Add(d time.Duration) {
	m.mu.Lock()
	target := m.now.Add(d)
	for {
		var first *timer
		for t := range m.timers {
			if !t.at.After(target) && (first == nil || t.at.Before(first.at)) {
				first = t
			}
		}
		if first == nil {
			break
		}
		if first.at.After(m.now) {
			m.now = first.at
		}
		first.fire()
	}
	if target.After(m.now) {
		m.now = target
	}
	m.mu.Unlock()
}

// Now returns the present of the clock.
func (m *Mock) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Since returns the time that has passed since t.
func (m *Mock) Since(t time.Time) time.Duration { return m.Now().Sub(t) }

// Until returns the time until t.
func (m *Mock) Until(t time.Time) time.Duration { return t.Sub(m.Now()) }

// Sleep waits until the clock has moved by d.
func (m *Mock) Sleep(d time.Duration) { <-m.After(d) }

// Timer returns a timer that sends once the clock has moved by d.
func (m *Mock) Timer(d time.Duration) clock.Timer { return m.start(d, 0, nil) }

// After is Timer without a way to stop it.
func (m *Mock) After(d time.Duration) <-chan time.Time { return m.start(d, 0, nil).ch }

// AfterFunc calls f, in a goroutine, once the clock has moved by d.
func (m *Mock) AfterFunc(d time.Duration, f func()) clock.Timer { return m.start(d, 0, f) }

// Ticker returns a ticker that sends each time that the clock has moved by d.
func (m *Mock) Ticker(d time.Duration) clock.Ticker {
	if d <= 0 {
		panic("clockmock: ticker without a period")
	}
	return ticker{m.start(d, d, nil)}
}

// WithDeadline is context.WithDeadline by this clock.
func (m *Mock) WithDeadline(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if before, ok := parent.Deadline(); ok && before.Before(deadline) {
		return context.WithCancel(parent)
	}
	ctx := &deadlineContext{Context: parent, deadline: deadline, done: make(chan struct{})}
	t := &timer{mock: m, expired: func() { ctx.end(context.DeadlineExceeded) }}
	m.mu.Lock()
	t.run(deadline.Sub(m.now))
	m.mu.Unlock()
	stop := context.AfterFunc(parent, func() { ctx.end(parent.Err()) })
	return ctx, func() {
		stop()
		t.Stop()
		ctx.end(context.Canceled)
	}
}

// WithTimeout is context.WithTimeout by this clock.
func (m *Mock) WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return m.WithDeadline(parent, m.Now().Add(timeout))
}
