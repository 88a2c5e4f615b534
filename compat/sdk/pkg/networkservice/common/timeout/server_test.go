// SPDX-License-Identifier: Apache-2.0

package timeout_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/timeout"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

const (
	lifetime = time.Minute
	patience = 10 * time.Second
)

type fixture struct {
	clock *clockmock.Mock
	ctx   context.Context
	last  *recorder.Server
	chain networkservice.NetworkServiceServer
}

func newFixture(t *testing.T) *fixture {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	f := &fixture{clock: clockmock.New(context.Background()), last: &recorder.Server{}}
	ctx, cancel := context.WithCancel(clock.WithClock(context.Background(), f.clock))
	t.Cleanup(cancel)
	f.ctx = ctx
	f.chain = next.NewNetworkServiceServer(begin.NewServer(), metadata.NewServer(), timeout.NewServer(ctx), f.last)
	return f
}

// request asks with a token that has its whole life time left.
func (f *fixture) request(ctx context.Context) error {
	_, err := f.chain.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "a",
		Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{
			{Name: "nsc", Id: "n", Expires: timestamppb.New(f.clock.Now().Add(lifetime))}, {Name: "hop", Id: "a"},
		}},
	}})
	return err
}

func (f *fixture) closes() int { return len(f.last.Closes()) }

func (f *fixture) requireClosed(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return f.closes() == 1 }, patience, time.Millisecond)
}

func TestAConnectionIsClosedWhenItsTokenExpires(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.request(f.ctx))
	f.clock.Add(lifetime - time.Second)
	require.Zero(t, f.closes())
	f.clock.Add(time.Second)
	f.requireClosed(t)
}

func TestTheCloseComesATimeOutEarlier(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := f.clock.WithTimeout(f.ctx, 15*time.Second)
	defer cancel()
	require.NoError(t, f.request(ctx))
	f.clock.Add(lifetime - 16*time.Second)
	require.Zero(t, f.closes())
	f.clock.Add(time.Second)
	f.requireClosed(t)
}

func TestARefreshPutsTheCloseOff(t *testing.T) {
	f := newFixture(t)
	for range 5 {
		require.NoError(t, f.request(f.ctx))
		f.clock.Add(lifetime - time.Second)
	}
	require.Zero(t, f.closes())

	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	require.Error(t, f.request(f.ctx)) // a failed one does not
	f.clock.Add(time.Second)
	f.requireClosed(t)
}

func TestAClosedConnectionIsNotClosedAgain(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.request(f.ctx))
	_, err := f.chain.Close(f.ctx, &networkservice.Connection{Id: "a"})
	require.NoError(t, err)
	require.NoError(t, f.request(f.ctx))
	f.clock.Add(lifetime)
	require.Eventually(t, func() bool { return f.closes() == 2 }, patience, time.Millisecond)
}

func TestACallerWithoutExpiryIsRefused(t *testing.T) {
	f := newFixture(t)
	_, err := f.chain.Request(f.ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id:   "a",
		Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Id: "n"}, {Id: "a"}}},
	}})
	require.Error(t, err)
	require.Empty(t, f.last.Requests())
}
