// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"slices"
	"sync"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// store holds resources by name, in the order of their first registration. They
// are never changed once they are in.
type store[T either.Resource[T]] struct {
	queueSize int

	mu        sync.Mutex
	resources map[string]T
	order     []string
	watchers  map[*watcher[T]]struct{}
}

type change[T any] struct {
	resource T
	deleted  bool
}

// watcher is a queue of changes. more has an element when there may be some.
type watcher[T any] struct {
	more chan struct{}

	mu    sync.Mutex
	queue []change[T]
}

func newStore[T either.Resource[T]](opts []Option) *store[T] {
	o := options{eventChannelSize: 10}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return &store[T]{
		queueSize: o.eventChannelSize,
		resources: make(map[string]T),
		watchers:  make(map[*watcher[T]]struct{}),
	}
}

func (s *store[T]) put(name string, resource T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.resources[name]; !known {
		s.order = append(s.order, name)
	}
	s.resources[name] = resource
	s.notify(change[T]{resource: resource})
}

func (s *store[T]) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resource, known := s.resources[name]
	if !known {
		return
	}
	delete(s.resources, name)
	s.order = slices.DeleteFunc(s.order, func(n string) bool { return n == name })
	s.notify(change[T]{resource: resource, deleted: true})
}

func (s *store[T]) all() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]T, 0, len(s.order))
	for _, name := range s.order {
		list = append(list, s.resources[name])
	}
	return list
}

// watch returns a watcher that begins with what is there.
func (s *store[T]) watch() *watcher[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &watcher[T]{more: make(chan struct{}, 1), queue: make([]change[T], 0, max(s.queueSize, len(s.order)))}
	for _, name := range s.order {
		w.queue = append(w.queue, change[T]{resource: s.resources[name]})
	}
	s.watchers[w] = struct{}{}
	return w
}

func (s *store[T]) unwatch(w *watcher[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
}

// notify must be called with mu held, so that all see the same order.
func (s *store[T]) notify(c change[T]) {
	for w := range s.watchers {
		w.add(c)
	}
}

func (w *watcher[T]) add(c change[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, c)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *watcher[T]) take() []change[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue
}
