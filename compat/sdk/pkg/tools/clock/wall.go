// SPDX-License-Identifier: Apache-2.0

package clock

import (
	"context"
	"time"
)

// wall is the real time.
type wall struct{}

func (wall) Now() time.Time                         { return time.Now() }
func (wall) Since(t time.Time) time.Duration        { return time.Since(t) }
func (wall) Until(t time.Time) time.Duration        { return time.Until(t) }
func (wall) Sleep(d time.Duration)                  { time.Sleep(d) }
func (wall) After(d time.Duration) <-chan time.Time { return time.After(d) }

func (wall) Timer(d time.Duration) Timer { return wallTimer{time.NewTimer(d)} }

func (wall) AfterFunc(d time.Duration, f func()) Timer { return wallTimer{time.AfterFunc(d, f)} }

func (wall) Ticker(d time.Duration) Ticker { return wallTicker{time.NewTicker(d)} }

func (wall) WithDeadline(parent context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(parent, deadline)
}

func (wall) WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(parent, timeout)
}

type wallTimer struct{ *time.Timer }

func (t wallTimer) C() <-chan time.Time { return t.Timer.C }

type wallTicker struct{ *time.Ticker }

func (t wallTicker) C() <-chan time.Time { return t.Ticker.C }
