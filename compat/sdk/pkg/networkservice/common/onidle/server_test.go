// SPDX-License-Identifier: Apache-2.0

package onidle_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/onidle"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

func TestOnIdle(t *testing.T) {
	const timeout = time.Minute
	type step func(request, closes func(id string) error, m *clockmock.Mock, last *recorder.Server)
	wait := func(d time.Duration) step {
		return func(_, _ func(string) error, m *clockmock.Mock, _ *recorder.Server) { m.Add(d) }
	}
	request := func(id string) step {
		return func(request, _ func(string) error, _ *clockmock.Mock, _ *recorder.Server) { _ = request(id) }
	}
	closes := func(id string) step {
		return func(_, closes func(string) error, _ *clockmock.Mock, _ *recorder.Server) { _ = closes(id) }
	}
	fail := func(_, _ func(string) error, _ *clockmock.Mock, last *recorder.Server) {
		last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	}
	for _, test := range []struct {
		name  string
		steps []step
		idle  bool
	}{
		{"nobody has ever come", []step{wait(timeout)}, true},
		{"not for long enough", []step{wait(timeout - 1)}, false},
		{"in use", []step{request("a"), wait(time.Hour)}, false},
		{"one of two has left", []step{request("a"), request("b"), closes("a"), wait(time.Hour)}, false},
		{"the last has left", []step{request("a"), request("b"), closes("a"), closes("b"), wait(timeout)}, true},
		{"the time starts again with each that leaves", []step{wait(timeout - 1), request("a"), closes("a"), wait(timeout - 1)}, false},
		{"a refresh counts once", []step{request("a"), request("a"), closes("a"), wait(timeout)}, true},
		{"a failed request is no use", []step{fail, request("a"), wait(timeout)}, true},
		{"a failed refresh is", []step{request("a"), fail, request("a"), wait(timeout)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			m := clockmock.New(t.Context())
			ctx, cancel := context.WithCancel(clock.WithClock(context.Background(), m))
			defer cancel()
			notified := make(chan struct{}, 2)
			last := &recorder.Server{}
			server := next.NewNetworkServiceServer(onidle.NewServer(ctx, func() { notified <- struct{}{} }, timeout), last)
			ask := func(id string) error {
				_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}})
				return err
			}
			for _, step := range test.steps {
				step(ask, func(id string) error {
					_, err := server.Close(t.Context(), &networkservice.Connection{Id: id})
					return err
				}, m, last)
			}
			if !test.idle {
				last.OnRequest = nil
				require.NoError(t, ask("new"))
				require.Empty(t, notified)
				return
			}
			<-notified
			require.ErrorContains(t, ask("new"), "idle")
			m.Add(time.Hour)
			require.Empty(t, notified)
		})
	}
}
