// SPDX-License-Identifier: Apache-2.0

package clockmock

import (
	"context"
	"sync"
	"time"
)

// deadlineContext has a Done of its own: one made by package context would tell
// its children that they were cancelled rather than late.
type deadlineContext struct {
	context.Context
	deadline time.Time
	done     chan struct{}

	mu  sync.Mutex
	err error
}

func (d *deadlineContext) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
		close(d.done)
	}
}

func (d *deadlineContext) Deadline() (time.Time, bool) { return d.deadline, true }
func (d *deadlineContext) Done() <-chan struct{}       { return d.done }

func (d *deadlineContext) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
