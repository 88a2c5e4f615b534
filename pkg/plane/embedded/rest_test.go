// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"testing"
	"time"
)

// A worker lingers for the next packet only while packets come close together.
func TestLingering(t *testing.T) {
	var clock time.Time
	clock = clock.Add(time.Hour)
	now := func() time.Time { return clock }
	var r rest
	// wait lets time pass without work and returns how long the worker lingered.
	wait := func(d time.Duration) (lingered time.Duration) {
		const step = 10 * time.Microsecond
		for t := time.Duration(0); t < d; t += step {
			if r.turn(now) {
				lingered = t
			}
			clock = clock.Add(step)
		}
		r.end(now)
		return lingered
	}
	for i, c := range []struct {
		pause time.Duration
		want  bool
	}{
		{50 * time.Microsecond, true},
		{time.Millisecond, true}, // questions and answers
		{50 * time.Microsecond, true},
		{time.Millisecond, true},
		{50 * time.Microsecond, true},
		{time.Millisecond, true}, // few packets
		{time.Millisecond, true},
		{time.Millisecond, false},
		{time.Millisecond, false},
		{50 * time.Microsecond, false}, // nobody knew
		{50 * time.Microsecond, true},
	} {
		got := wait(c.pause)
		if got > linger {
			t.Errorf("pause %d: lingered for %v", i, got)
		}
		if (got > 0) != c.want {
			t.Errorf("pause %d of %v: lingered %v, want %v", i, c.pause, got > 0, c.want)
		}
	}
}

func TestWorkWithoutRestReadsNoClock(t *testing.T) {
	var r rest
	for range 3 {
		r.end(func() time.Time { t.Error("a busy turn reads the clock"); return time.Time{} })
	}
}
