// SPDX-License-Identifier: Apache-2.0

package usecases

import "sync"

// lockstep takes rows that run side by side through their stages together, so that
// nobody makes noise while somebody measures.
type lockstep struct {
	mu       sync.Mutex
	rows     int // that have not left
	arrived  int
	released chan struct{} // closed when all have arrived
}

func newLockstep(rows int) *lockstep {
	return &lockstep{rows: rows, released: make(chan struct{})}
}

// next waits until every row that has not left is here.
func (l *lockstep) next() {
	l.mu.Lock()
	l.arrived++
	released := l.released
	l.release()
	l.mu.Unlock()
	<-released
}

// leave takes a row out: it is done, skipped or has failed.
func (l *lockstep) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows--
	l.release()
}

func (l *lockstep) release() {
	if l.arrived < l.rows || l.arrived == 0 {
		return
	}
	l.arrived = 0
	close(l.released)
	l.released = make(chan struct{})
}
