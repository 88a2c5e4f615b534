// SPDX-License-Identifier: Apache-2.0

package clockmock_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

func TestTimeStandsStillUntilMoved(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := clockmock.New(t.Context())
	start := m.Now()
	timer := m.Timer(time.Minute)
	ticker := m.Ticker(20 * time.Second)
	defer ticker.Stop()

	m.Add(59 * time.Second)
	require.Empty(t, timer.C())
	require.Len(t, ticker.C(), 1)
	m.Add(time.Second)
	require.Equal(t, start.Add(time.Minute), <-timer.C())
	require.False(t, timer.Stop())
	require.Equal(t, start.Add(time.Minute), m.Now())

	require.False(t, timer.Reset(time.Hour))
	require.True(t, timer.Stop())
	m.Add(2 * time.Hour)
	require.Empty(t, timer.C())
}

func TestAfterFuncsRunInTheirOrderAndMayBeStopped(t *testing.T) {
	m := clockmock.New(t.Context())
	ran := make(chan string, 2)
	m.AfterFunc(time.Second, func() { ran <- "first" })
	second := m.AfterFunc(2*time.Second, func() { ran <- "second" })
	m.Add(time.Second)
	require.Equal(t, "first", <-ran)
	require.True(t, second.Stop())
	m.Add(time.Hour)
	require.Empty(t, ran)
	m.AfterFunc(0, func() { ran <- "at once" })
	require.Equal(t, "at once", <-ran)
}

func TestDeadlinesAreThoseOfTheClock(t *testing.T) {
	m := clockmock.New(t.Context())
	ctx, cancel := m.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child, cancelChild := context.WithCancel(ctx)
	defer cancelChild()
	m.Add(time.Minute - 1)
	require.NoError(t, ctx.Err())
	m.Add(1)
	<-child.Done()
	require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
	require.ErrorIs(t, child.Err(), context.DeadlineExceeded)

	cancelled, cancel := m.WithTimeout(t.Context(), time.Minute)
	cancel()
	require.ErrorIs(t, cancelled.Err(), context.Canceled)
	past, cancel := m.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	require.ErrorIs(t, past.Err(), context.DeadlineExceeded)
}

func TestTimeFlowsAtItsSpeed(t *testing.T) {
	defer goleak.VerifyNone(t)
	m := clockmock.New(t.Context())
	start := time.Now()
	m.SetSpeed(1000)
	m.Sleep(10 * time.Second)
	require.Less(t, time.Since(start), 5*time.Second)
	m.SetSpeed(0)
}
