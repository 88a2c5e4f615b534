// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/refresh"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

const (
	lifetime = 10 * time.Minute
	patience = 10 * time.Second
)

type fixture struct {
	clock  *clockmock.Mock
	ctx    context.Context
	cancel context.CancelFunc
	last   *recorder.Client
	served atomic.Int32 // calls that have left refresh again
	chain  networkservice.NetworkServiceClient
}

// newFixture returns a chain whose next hop renews all tokens of the path.
func newFixture(t *testing.T) *fixture {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	f := &fixture{clock: clockmock.New(context.Background()), last: &recorder.Client{}}
	f.ctx, f.cancel = context.WithCancel(clock.WithClock(context.Background(), f.clock))
	t.Cleanup(f.cancel)
	f.last.OnReply = func(_ context.Context, conn *networkservice.Connection) error {
		for i, segment := range conn.GetPath().GetPathSegments() {
			segment.Expires = timestamppb.New(f.clock.Now().Add(lifetime + time.Duration(i)*time.Hour))
		}
		return nil
	}
	first := &recorder.Client{}
	first.OnReply = func(context.Context, *networkservice.Connection) error {
		f.served.Add(1)
		return nil
	}
	f.chain = next.NewNetworkServiceClient(begin.NewClient(), metadata.NewClient(), first, refresh.NewClient(f.ctx), f.last)
	return f
}

func (f *fixture) request(t *testing.T, index uint32, hops int) {
	path := &networkservice.Path{Index: index}
	for range hops {
		path.PathSegments = append(path.PathSegments, &networkservice.PathSegment{Id: "a"})
	}
	_, err := f.chain.Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: "a", Path: path},
	})
	require.NoError(t, err)
}

// requireServed waits until want requests have succeeded, and with that until
// the timer for the next one runs: the clock must not move before.
func (f *fixture) requireServed(t *testing.T, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return int(f.served.Load()) >= want }, patience, time.Millisecond)
	require.Len(t, f.last.Requests(), want)
}

func TestTheTimeOfTheRefresh(t *testing.T) {
	for _, test := range []struct {
		name  string
		index uint32
		hops  int
		after time.Duration
	}{
		{"a path of one hop after a third", 0, 1, lifetime / 3},
		{"the client of six hops after a fifth", 0, 6, 2 * time.Minute},
		{"its next hop a little later", 1, 6, 2*time.Minute + 20*time.Second},
		{"the last hop latest", 3, 4, 3*time.Minute + 30*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.request(t, test.index, test.hops)
			for n := 2; n < 5; n++ {
				f.clock.Add(test.after - time.Millisecond)
				f.requireServed(t, n-1)
				f.clock.Add(2 * time.Millisecond)
				f.requireServed(t, n)
			}
		})
	}
}

func TestAFailedRefreshIsRepeated(t *testing.T) {
	f := newFixture(t)
	f.request(t, 0, 6)
	tries := make(chan time.Time, 100)
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		tries <- f.clock.Now()
		return errors.New("no")
	}
	f.clock.Add(2 * time.Minute)
	before := <-tries
	for range 4 {
		var at time.Time
		require.Eventually(t, func() bool {
			select {
			case at = <-tries:
				return true
			default:
				f.clock.Add(10 * time.Millisecond)
				return false
			}
		}, patience, time.Millisecond)
		require.GreaterOrEqual(t, at.Sub(before), 200*time.Millisecond)
		before = at
	}
}

func TestNoRefreshAfterClose(t *testing.T) {
	f := newFixture(t)
	f.request(t, 0, 6)
	_, err := f.chain.Close(t.Context(), &networkservice.Connection{Id: "a"})
	require.NoError(t, err)
	f.clock.Add(time.Hour)
	goleak.VerifyNone(t)
	f.requireServed(t, 1)
}

func TestNoRefreshAfterTheEndOfTheChain(t *testing.T) {
	f := newFixture(t)
	f.request(t, 0, 6)
	f.cancel()
	f.clock.Add(time.Hour)
	goleak.VerifyNone(t)
	f.requireServed(t, 1)
}
