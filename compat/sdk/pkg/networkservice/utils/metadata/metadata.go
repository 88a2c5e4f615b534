// SPDX-License-Identifier: Apache-2.0

// Package metadata keeps, for each connection, a map in which the elements of a
// chain leave what they must remember from Request to Close.
package metadata

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

type contextKey struct{}

// halves are the maps of one connection at one hop. A client chain that runs
// inside a server chain shares those of the server, so that a server element
// sees what the client half has left.
type halves struct{ server, client sync.Map }

// Map returns the map of the connection that ctx serves: isClient tells the
// client half of a hop from its server half. It panics if there is no metadata
// element ahead in the chain.
func Map(parent context.Context, isClient bool) *sync.Map {
	h, ok := parent.Value(contextKey{}).(*halves)
	if !ok {
		panic("metadata: the chain has no metadata.NewServer() or NewClient() ahead of this element")
	}
	if isClient {
		return &h.client
	}
	return &h.server
}

// IsClient says whether in is the client half of an element.
func IsClient(in interface{}) bool {
	_, ok := in.(networkservice.NetworkServiceClient)
	return ok
}

// store holds the maps of one element by connection id.
type store struct{ connections sync.Map }

// enter returns ctx with the maps of id, and whether they were made just now.
func (s *store) enter(ctx context.Context, id string) (_ context.Context, fresh bool) {
	h, known := s.connections.Load(id)
	if !known {
		h, known = s.connections.LoadOrStore(id, new(halves))
	}
	return context.WithValue(ctx, contextKey{}, h), !known
}

func (s *store) drop(id string) { s.connections.Delete(id) }
