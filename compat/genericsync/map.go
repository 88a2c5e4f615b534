// SPDX-License-Identifier: Apache-2.0

// Package genericsync gives sync.Map and sync.Pool the types of what they hold.
package genericsync

import "sync"

// Map is a sync.Map of keys K and values V. The zero value is empty and ready; a
// Map must not be copied after its first use.
type Map[K any, V any] sync.Map

func (m *Map[K, V]) untyped() *sync.Map { return (*sync.Map)(m) }

// Load returns the value of key; ok tells whether there is one.
func (m *Map[K, V]) Load(key K) (value V, ok bool) {
	return typed[V](m.untyped().Load(key))
}

// Store sets the value of key.
func (m *Map[K, V]) Store(key K, value V) { m.untyped().Store(key, value) }

// LoadOrStore returns the value that key has, or gives it this one; loaded tells
// which.
func (m *Map[K, V]) LoadOrStore(key K, value V) (actual V, loaded bool) {
	was, loaded := m.untyped().LoadOrStore(key, value)
	actual, _ = typed[V](was, true)
	return actual, loaded
}

// LoadAndDelete removes key and returns the value it had; loaded tells whether
// there was one.
func (m *Map[K, V]) LoadAndDelete(key K) (value V, loaded bool) {
	return typed[V](m.untyped().LoadAndDelete(key))
}

// Delete removes key.
func (m *Map[K, V]) Delete(key K) { m.untyped().Delete(key) }

// Range calls f for every pair until f returns false; see sync.Map about pairs that
// change meanwhile.
func (m *Map[K, V]) Range(f func(key K, value V) bool) {
	m.untyped().Range(func(key, value any) bool {
		k, _ := typed[K](key, true)
		v, _ := typed[V](value, true)
		return f(k, v)
	})
}

// typed gives an untyped value its type back. An interface type V can hold a nil
// that has lost its type; it comes back as V's zero value.
func typed[V any](value any, ok bool) (V, bool) {
	v, _ := value.(V)
	return v, ok
}
