// SPDX-License-Identifier: Apache-2.0

// Package cancelctx lets whoever holds a context cancel it.
package cancelctx

import "context"

type key struct{}

// WithCancel is context.WithCancel whose cancel function FromContext finds.
func WithCancel(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	return context.WithValue(ctx, key{}, cancel), cancel
}

// FromContext returns the cancel function that WithCancel put into ctx, or nil.
func FromContext(ctx context.Context) context.CancelFunc {
	cancel, _ := ctx.Value(key{}).(context.CancelFunc)
	return cancel
}
