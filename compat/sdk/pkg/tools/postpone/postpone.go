// SPDX-License-Identifier: Apache-2.0

// Package postpone gives clean-up after a failed request a deadline of its own:
// as much time as the request had when it came, but starting at the failure.
package postpone

import (
	"context"

	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/extend"
)

// Context notes how much time ctx has left. The returned function makes a
// context with that much time from its call, which does not end with ctx and
// has none of its values.
func Context(ctx context.Context) func() (context.Context, context.CancelFunc) {
	c := clock.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() (context.Context, context.CancelFunc) {
			return context.WithCancel(context.Background())
		}
	}
	left := c.Until(deadline)
	return func() (context.Context, context.CancelFunc) {
		return c.WithTimeout(context.Background(), left)
	}
}

// ContextWithValues is Context whose contexts have the values of ctx.
func ContextWithValues(ctx context.Context) func() (context.Context, context.CancelFunc) {
	postponed := Context(ctx)
	return func() (context.Context, context.CancelFunc) {
		fresh, cancel := postponed()
		return extend.WithValuesFromContext(fresh, ctx), cancel
	}
}
