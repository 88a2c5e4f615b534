// SPDX-License-Identifier: Apache-2.0

package postpone_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

type key struct{}

func TestCleaningUpHasTheTimeThatTheRequestHad(t *testing.T) {
	m := clockmock.New(t.Context())
	ctx, cancel := m.WithTimeout(context.WithValue(clock.WithClock(t.Context(), m), key{}, "value"), time.Minute)
	bare, withValues := postpone.Context(ctx), postpone.ContextWithValues(ctx)
	m.Add(59 * time.Second)
	cancel() // the request has failed

	for want, fresh := range map[interface{}]func() (context.Context, context.CancelFunc){nil: bare, "value": withValues} {
		ctx, cancel := fresh()
		require.NoError(t, ctx.Err())
		require.Equal(t, want, ctx.Value(key{}))
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.Equal(t, time.Minute, m.Until(deadline))
		cancel()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	}
}

func TestWithoutADeadlineThereIsNone(t *testing.T) {
	ctx, cancel := postpone.ContextWithValues(t.Context())()
	_, ok := ctx.Deadline()
	require.False(t, ok)
	cancel()
	require.Error(t, ctx.Err())
}
