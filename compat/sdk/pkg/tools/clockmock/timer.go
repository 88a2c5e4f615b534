// SPDX-License-Identifier: Apache-2.0

package clockmock

import "time"

// timer is one timer, ticker or deadline. Its fields are guarded by the lock of
// its clock.
type timer struct {
	mock    *Mock
	at      time.Time
	period  time.Duration // of a ticker
	ch      chan time.Time
	f       func() // of AfterFunc: called in a goroutine
	expired func() // of a deadline: called at once
}

func (m *Mock) start(d, period time.Duration, f func()) *timer {
	t := &timer{mock: m, period: period, f: f}
	if f == nil {
		t.ch = make(chan time.Time, 1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.run(d)
	return t
}

// run lets the timer expire in d. The lock is held.
func (t *timer) run(d time.Duration) {
	t.at = t.mock.now.Add(d)
	t.mock.timers[t] = struct{}{}
	if d <= 0 {
		t.fire()
	}
}

// fire lets the timer expire now. The lock is held.
func (t *timer) fire() {
	if t.period > 0 {
		t.at = t.at.Add(t.period)
	} else {
		delete(t.mock.timers, t)
	}
	switch {
	case t.f != nil:
		go t.f()
	case t.expired != nil:
		t.expired()
	default:
		select {
		case t.ch <- t.mock.now:
		default:
		}
	}
}

func (t *timer) C() <-chan time.Time { return t.ch }

func (t *timer) Stop() bool {
	t.mock.mu.Lock()
	defer t.mock.mu.Unlock()
	return t.stop()
}

// stop also takes back what was sent and not received, as package time does.
func (t *timer) stop() bool {
	_, running := t.mock.timers[t]
	delete(t.mock.timers, t)
	select {
	case <-t.ch:
	default:
	}
	return running
}

func (t *timer) Reset(d time.Duration) bool {
	t.mock.mu.Lock()
	defer t.mock.mu.Unlock()
	running := t.stop()
	t.run(d)
	return running
}

type ticker struct{ timer *timer }

func (t ticker) C() <-chan time.Time { return t.timer.ch }
func (t ticker) Stop()               { t.timer.Stop() }

func (t ticker) Reset(d time.Duration) {
	t.timer.mock.mu.Lock()
	defer t.timer.mock.mu.Unlock()
	t.timer.stop()
	t.timer.period = d
	t.timer.run(d)
}
