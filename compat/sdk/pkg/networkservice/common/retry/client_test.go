// SPDX-License-Identifier: Apache-2.0

package retry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/retry"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

var errNo = errors.New("no")

func TestCallsAreRepeatedUntilTheySucceed(t *testing.T) {
	m := clockmock.New(t.Context())
	m.SetSpeed(1000)
	ctx := clock.WithClock(t.Context(), m)
	last := &recorder.Client{}
	last.OnRequest = func(_ context.Context, r *networkservice.NetworkServiceRequest) error {
		r.Connection.Id = "changed" // each try starts from what the caller asked
		if len(last.Requests()) < 4 {
			return errNo
		}
		return nil
	}
	last.OnClose = func(context.Context, *networkservice.Connection) error {
		if len(last.Closes()) < 3 {
			return errNo
		}
		return nil
	}
	client := retry.NewClient(last)
	start := m.Now()
	_, err := client.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}})
	require.NoError(t, err)
	require.Len(t, last.Requests(), 4)
	require.GreaterOrEqual(t, m.Since(start), 3*200*time.Millisecond)
	for _, r := range last.Requests() {
		require.Equal(t, "a", r.GetConnection().GetId())
	}
	_, err = client.Close(ctx, &networkservice.Connection{Id: "a"})
	require.NoError(t, err)
	require.Len(t, last.Closes(), 3)
}

func TestATryHasATimeOfItsOwn(t *testing.T) {
	m := clockmock.New(t.Context())
	m.SetSpeed(1000)
	ctx := clock.WithClock(t.Context(), m)
	last := &recorder.Client{}
	last.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		if len(last.Requests()) == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	start := m.Now()
	_, err := retry.NewClient(last, retry.WithTryTimeout(3*time.Second), retry.WithInterval(time.Second)).
		Request(ctx, &networkservice.NetworkServiceRequest{})
	require.NoError(t, err)
	require.GreaterOrEqual(t, m.Since(start), 4*time.Second)
}

func TestTheCallerMayGiveUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	last := &recorder.Client{}
	last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		cancel()
		return errNo
	}
	_, err := retry.NewClient(last, retry.WithInterval(time.Hour)).Request(ctx, &networkservice.NetworkServiceRequest{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errNo)
	_, err = retry.NewClient(last).Close(ctx, &networkservice.Connection{})
	require.ErrorIs(t, err, context.Canceled)
}
