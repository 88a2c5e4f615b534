// SPDX-License-Identifier: Apache-2.0

package genericsync

import "sync"

// Pool is a sync.Pool of T. Make it with New.
type Pool[T any] struct {
	pool sync.Pool
}

// New returns a pool that calls f when it is empty.
func New[T any](f func() T) *Pool[T] {
	return &Pool[T]{pool: sync.Pool{New: func() any { return f() }}}
}

// Get takes a value out of the pool, or makes one.
func (p *Pool[T]) Get() T {
	v, _ := typed[T](p.pool.Get(), true)
	return v
}

// Put gives a value to the pool.
func (p *Pool[T]) Put(x T) { p.pool.Put(x) }
