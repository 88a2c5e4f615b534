// SPDX-License-Identifier: Apache-2.0

package begin

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

// calls are the next element's.
type calls[T any] struct {
	register   func(context.Context, T) (T, error)
	unregister func(context.Context, T) (*emptypb.Empty, error)
}

// table has an entry for every name that is registered or being worked on.
type table[T either.Resource[T]] struct {
	mu      sync.Mutex
	entries map[string]*entry[T]
}

func newTable[T either.Resource[T]]() *table[T] {
	return &table[T]{entries: make(map[string]*entry[T])}
}

// entry is the state of one resource. Whoever has taken the token out of turn
// may use the fields below it.
type entry[T either.Resource[T]] struct {
	table *table[T]
	users int // guarded by table.mu
	// names under which the entry stands in the table: the one asked for and,
	// if that is another, the registered one; guarded by table.mu.
	names []string
	// kept says that the resource is registered; guarded by table.mu, so that an
	// entry is not dropped between two users.
	kept bool
	turn chan struct{}

	registered bool
	request    T // what was last registered
	answer     T // what the registry made of it
	next       calls[T]
	// context makes the context of an event: the values and the time limit of
	// the last Register.
	context func() (context.Context, context.CancelFunc)
}

// acquire returns the entry of name. A resource without a name gets one of its
// own, for the registry may give it a name.
func (t *table[T]) acquire(name string) *entry[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[name]
	if e == nil {
		e = &entry[T]{table: t, turn: make(chan struct{}, 1)}
		e.turn <- struct{}{}
		t.enter(e, name)
	}
	e.users++
	return e
}

// enter must be called with mu held.
func (t *table[T]) enter(e *entry[T], name string) {
	if name != "" && t.entries[name] != e {
		t.entries[name] = e
		e.names = append(e.names, name)
	}
}

// release drops the entry when nothing needs it any more.
func (t *table[T]) release(e *entry[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.users--
	t.drop(e)
}

// drop must be called with mu held.
func (t *table[T]) drop(e *entry[T]) {
	if e.users > 0 || e.kept {
		return
	}
	for _, name := range e.names {
		if t.entries[name] == e {
			delete(t.entries, name)
		}
	}
	e.names = nil
}

// keep notes that the resource is registered, under the name in answer.
func (e *entry[T]) keep(request, answer T) {
	e.registered, e.request, e.answer = true, request, answer
	either.SetName(e.request, either.NameOf(request, answer))
	e.table.mu.Lock()
	defer e.table.mu.Unlock()
	e.kept = true
	e.table.enter(e, answer.GetName())
}

// forget notes that the resource is not registered, and returns what is to be
// unregistered: what the registry knows, by the name and URL that elements of
// this chain know it by.
func (e *entry[T]) forget() T {
	e.registered = false
	e.table.mu.Lock()
	e.kept = false
	e.table.drop(e)
	e.table.mu.Unlock()
	known := e.answer.Clone()
	either.SetName(known, e.request.GetName())
	either.SetURL(known, either.URL(e.request))
	return known
}

// wait takes the token, if it is there even when ctx has ended. The caller puts
// it back with done.
func (e *entry[T]) wait(ctx context.Context) error {
	select {
	case <-e.turn:
		return nil
	default:
	}
	select {
	case <-e.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the call before: %w", ctx.Err())
	}
}

func (e *entry[T]) done() { e.turn <- struct{}{} }

func (t *table[T]) register(ctx context.Context, in T, next calls[T]) (T, error) {
	var none T
	e := t.acquire(in.GetName())
	defer t.release(e)
	if err := e.wait(ctx); err != nil {
		return none, err
	}
	defer e.done()

	ctx = context.WithValue(ctx, factoryKey{}, &factory[T]{e})
	eventContext := postpone.ContextWithValues(ctx)
	out, err := next.register(ctx, in.Clone())
	if err != nil {
		return out, err
	}
	e.next, e.context = next, eventContext
	e.keep(in.Clone(), out.Clone())
	return out, nil
}

// unregister passes on what is not known here: the registry may know it from
// before this process was started again.
func (t *table[T]) unregister(ctx context.Context, in T, next calls[T]) (*emptypb.Empty, error) {
	e := t.acquire(in.GetName())
	defer t.release(e)
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	defer e.done()

	if e.registered {
		in = e.forget()
	}
	ctx = context.WithValue(ctx, factoryKey{}, &factory[T]{e})
	return next.unregister(ctx, in.Clone())
}

type factory[T either.Resource[T]] struct{ entry *entry[T] }

func (f *factory[T]) Register(opts ...Option) <-chan error {
	return f.start(opts, func(ctx context.Context) error {
		e := f.entry
		out, err := e.next.register(ctx, e.request.Clone())
		if err == nil {
			e.keep(e.request, out.Clone())
		}
		return err
	})
}

func (f *factory[T]) Unregister(opts ...Option) <-chan error {
	return f.start(opts, func(ctx context.Context) error {
		_, err := f.entry.next.unregister(ctx, f.entry.forget())
		return err
	})
}

// start runs call in a goroutine when the entry's turn comes. The turn before
// ends, for every call has a limit in time or an end of its chain.
func (f *factory[T]) start(opts []Option, call func(context.Context) error) <-chan error {
	o := &option{cancel: context.Background(), extend: context.Background()}
	for _, opt := range opts {
		opt(o)
	}
	result := make(chan error, 1)
	go func() {
		defer close(result)
		if f.entry.wait(o.cancel) != nil {
			return
		}
		defer f.entry.done()
		if o.cancel.Err() != nil || !f.entry.registered {
			return
		}
		ctx, cancel := f.entry.context()
		defer cancel()
		if err := call(extended{ctx, o.extend}); err != nil {
			result <- err
		}
	}()
	return result
}

// extended has the values of more where the context has none.
type extended struct {
	context.Context
	more context.Context
}

func (e extended) Value(key any) any {
	if value := e.Context.Value(key); value != nil {
		return value
	}
	return e.more.Value(key)
}
