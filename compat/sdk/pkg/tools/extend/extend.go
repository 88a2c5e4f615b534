// SPDX-License-Identifier: Apache-2.0

// Package extend mixes the life of one context with the values of another.
package extend

import "context"

// WithValuesFromContext returns a context that ends with parent and has only
// the values of valuesContext.
func WithValuesFromContext(parent, valuesContext context.Context) context.Context {
	return mixed{Context: parent, values: valuesContext}
}

// WithBothValuesFromContext returns a context that ends with parent and has the
// values of valuesContext, and for keys missing there those of parent.
func WithBothValuesFromContext(parent, valuesContext context.Context) context.Context {
	return mixed{Context: parent, values: valuesContext, both: true}
}

type mixed struct {
	context.Context
	values context.Context
	both   bool
}

func (m mixed) Value(key interface{}) interface{} {
	if value := m.values.Value(key); value != nil || !m.both {
		return value
	}
	return m.Context.Value(key)
}
