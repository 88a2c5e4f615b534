// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

type server[T either.Resource[T], Q either.Query, R any, S either.SendStream[R]] struct {
	store    *store[T]
	match    func(Q, T) bool
	response func(resource T, deleted bool) R
}

func (s *server[T, Q, R, S]) Register(ctx context.Context, in T) (T, error) {
	registered, err := either.NextServer[T, Q, S](ctx).Register(ctx, in)
	if err != nil {
		return registered, err
	}
	s.store.put(registered.GetName(), registered.Clone())
	return registered, nil
}

// Find sends what matches and, if the query watches, each change of it until
// the stream's context ends. What is sent may be changed by the receiver.
func (s *server[T, Q, R, S]) Find(query Q, stream S) error {
	ctx := stream.Context()
	if !query.GetWatch() {
		for _, resource := range s.store.all() {
			if s.match(query, resource) {
				if err := stream.Send(s.response(resource.Clone(), false)); err != nil {
					return err
				}
			}
		}
		return either.NextServer[T, Q, S](ctx).Find(query, stream)
	}

	w := s.store.watch()
	defer s.store.unwatch(w)
	for {
		for _, c := range w.take() {
			if s.match(query, c.resource) {
				if err := stream.Send(s.response(c.resource.Clone(), c.deleted)); err != nil {
					if ctx.Err() != nil {
						return nil //nolint:nilerr // the watcher is gone
					}
					return err
				}
			}
		}
		select {
		case <-w.more:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *server[T, Q, R, S]) Unregister(ctx context.Context, in T) (*emptypb.Empty, error) {
	s.store.remove(in.GetName())
	return either.NextServer[T, Q, S](ctx).Unregister(ctx, in)
}
