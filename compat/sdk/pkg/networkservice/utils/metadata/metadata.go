// SPDX-License-Identifier: Apache-2.0

// Package metadata keeps, for each connection, a map in which the elements of a
// chain leave what they must remember from Request to Close.
package metadata

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

type (
	serverKey struct{}
	clientKey struct{}
)

// Map returns the map of the connection that ctx serves: isClient tells the
// client half of a hop from its server half. It panics if the chain has no
// metadata element of that half.
func Map(parent context.Context, isClient bool) *sync.Map {
	var key interface{} = serverKey{}
	element := "metadata.NewServer()"
	if isClient {
		key, element = clientKey{}, "metadata.NewClient()"
	}
	m, ok := parent.Value(key).(*sync.Map)
	if !ok {
		panic("metadata: put " + element + " into the chain, ahead of this element")
	}
	return m
}

// IsClient says whether in is the client half of an element.
func IsClient(in interface{}) bool {
	_, ok := in.(networkservice.NetworkServiceClient)
	return ok
}

// store holds the maps of one element by connection id.
type store struct{ maps sync.Map }

// load returns the map of id, and whether it was made just now.
func (s *store) load(id string) (m *sync.Map, fresh bool) {
	if m, ok := s.maps.Load(id); ok {
		return m.(*sync.Map), false
	}
	loaded, ok := s.maps.LoadOrStore(id, new(sync.Map))
	return loaded.(*sync.Map), !ok
}

func (s *store) drop(id string) { s.maps.Delete(id) }
