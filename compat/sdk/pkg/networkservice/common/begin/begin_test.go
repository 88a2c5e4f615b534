// SPDX-License-Identifier: Apache-2.0

package begin_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	conn    = networkservice.Connection
	request = networkservice.NetworkServiceRequest
)

func ask(id string) *request { return &request{Connection: &conn{Id: id}} }

// halves runs a test against begin of a server chain, and of a client chain
// seen as a server.
func halves(t *testing.T, test func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder)) {
	t.Run("server", func(t *testing.T) {
		last := &recorder.Server{}
		test(t, next.NewNetworkServiceServer(begin.NewServer(), last), &last.Recorder)
	})
	t.Run("client", func(t *testing.T) {
		last := &recorder.Client{}
		test(t, adapters.NewClientToServer(next.NewNetworkServiceClient(begin.NewClient(), last)), &last.Recorder)
	})
}

func TestCallsForOneConnectionRunOneAtATime(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		var inside [2]atomic.Int32
		var overlap atomic.Int32 // of different connections
		last.OnRequest = func(_ context.Context, r *request) error {
			n := int(r.GetConnection().GetId()[0] - 'a')
			if inside[n].Add(1) > 1 {
				return errors.New("two calls at a time")
			}
			if inside[1-n].Load() > 0 {
				overlap.Store(1)
			}
			time.Sleep(100 * time.Microsecond)
			inside[n].Add(-1)
			return nil
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, err := chain.Request(t.Context(), ask(string(rune('a'+i%2))))
				require.NoError(t, err)
			}()
		}
		wg.Wait()
		require.Len(t, last.Requests(), 100)
		require.EqualValues(t, 1, overlap.Load(), "connections waited for each other")
	})
}

func TestWhoWaitsMayGiveUp(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		entered, release := make(chan struct{}), make(chan struct{})
		last.OnRequest = func(context.Context, *request) error {
			close(entered)
			<-release
			return nil
		}
		done := make(chan error)
		go func() {
			_, err := chain.Request(context.Background(), ask("a"))
			done <- err
		}()
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := chain.Request(ctx, ask("a"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = chain.Close(ctx, &conn{Id: "a"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(release)
		require.NoError(t, <-done)
	})
}

func TestCloseOfAnUnknownConnectionDoesNothing(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		_, err := chain.Close(t.Context(), &conn{Id: "a"})
		require.NoError(t, err)
		require.Empty(t, last.Closes())

		last.OnRequest = func(context.Context, *request) error { return errors.New("no") }
		_, err = chain.Request(t.Context(), ask("a"))
		require.Error(t, err)
		_, err = chain.Close(t.Context(), &conn{Id: "a"})
		require.NoError(t, err)
		require.Empty(t, last.Closes(), "a connection that never was got closed")
	})
}

func TestRequestNeedsAnID(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, _ *recorder.Recorder) {
		_, err := chain.Request(t.Context(), &request{})
		require.Error(t, err)
	})
}

func TestCloseUsesWhatWasRepliedLast(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		last.OnReply = func(_ context.Context, c *conn) error {
			c.NetworkServiceEndpointName = fmt.Sprintf("nse-%d", len(last.Requests()))
			return nil
		}
		for range 2 {
			reply, err := chain.Request(t.Context(), ask("a"))
			require.NoError(t, err)
			require.Equal(t, networkservice.State_UP, reply.GetState())
		}
		for range 2 { // the second finds nothing
			_, err := chain.Close(t.Context(), &conn{Id: "a", NetworkServiceEndpointName: "forged"})
			require.NoError(t, err)
		}
		require.Len(t, last.Closes(), 1)
		require.Equal(t, "nse-2", last.Closes()[0].GetNetworkServiceEndpointName())
	})
}

func TestAFailedRefreshLeavesTheConnectionEstablished(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		_, err := chain.Request(t.Context(), ask("a"))
		require.NoError(t, err)
		last.OnRequest = func(context.Context, *request) error { return errors.New("no") }
		_, err = chain.Request(t.Context(), ask("a"))
		require.Error(t, err)
		_, err = chain.Close(t.Context(), &conn{Id: "a"})
		require.NoError(t, err)
		require.Len(t, last.Closes(), 1)
	})
}

func TestReselectClosesFirst(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		last.OnReply = func(_ context.Context, c *conn) error {
			c.NetworkServiceEndpointName = "nse"
			return nil
		}
		reselect := ask("a")
		reselect.Connection.State = networkservice.State_RESELECT_REQUESTED
		_, err := chain.Request(t.Context(), reselect.Clone())
		require.NoError(t, err)
		require.Empty(t, last.Closes(), "closed what was not established")
		reply, err := chain.Request(t.Context(), reselect.Clone())
		require.NoError(t, err)
		require.Equal(t, networkservice.State_UP, reply.GetState())
		require.Len(t, last.Closes(), 1)
		require.Equal(t, "nse", last.Closes()[0].GetNetworkServiceEndpointName())
	})
}

func TestEvents(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		var factory begin.EventFactory
		last.OnRequest = func(ctx context.Context, r *request) error {
			factory = begin.FromContext(ctx)
			r.MechanismPreferences = append(r.MechanismPreferences, &networkservice.Mechanism{Type: "ADDED"})
			return nil
		}
		last.OnReply = func(_ context.Context, c *conn) error {
			c.NetworkServiceEndpointName = "nse"
			return nil
		}
		type valueKey struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "kept"))
		_, err := chain.Request(ctx, ask("a"))
		require.NoError(t, err)
		cancel()

		last.OnClose = func(ctx context.Context, _ *conn) error {
			if ctx.Value(valueKey{}) != "kept" {
				return errors.New("the values of the last call are gone")
			}
			return ctx.Err()
		}
		require.NoError(t, <-factory.Request())
		repeated := last.Requests()[1]
		require.Equal(t, "nse", repeated.GetConnection().GetNetworkServiceEndpointName())
		require.Empty(t, repeated.GetMechanismPreferences(), "what elements add must not pile up")

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, <-factory.Request(begin.CancelContext(cancelled)))
		require.NoError(t, <-factory.Close(begin.CancelContext(cancelled)))
		require.Len(t, last.Requests(), 2)

		require.NoError(t, <-factory.Close())
		require.Len(t, last.Closes(), 1)
		require.NoError(t, <-factory.Close())
		require.NoError(t, <-factory.Request())
		require.Len(t, last.Closes(), 1)
		require.Len(t, last.Requests(), 2)
	})
}

func TestEventErrorsAreReported(t *testing.T) {
	halves(t, func(t *testing.T, chain networkservice.NetworkServiceServer, last *recorder.Recorder) {
		var factory begin.EventFactory
		last.OnRequest = func(ctx context.Context, _ *request) error {
			factory = begin.FromContext(ctx)
			return nil
		}
		_, err := chain.Request(t.Context(), ask("a"))
		require.NoError(t, err)
		no := errors.New("no")
		last.OnRequest = func(context.Context, *request) error { return no }
		require.ErrorIs(t, <-factory.Request(), no)
		last.OnRequest = nil
		require.NoError(t, <-factory.Request())
	})
}

func TestReselectEventIsRepeatedUntilItSucceeds(t *testing.T) {
	for name, test := range map[string]struct {
		opts     []begin.ClientOption
		endpoint string
	}{
		"any endpoint":      {nil, ""},
		"the same endpoint": {[]begin.ClientOption{begin.WithReselectFunc(begin.ReselectWithSameEndpointFunc)}, "nse"},
	} {
		t.Run(name, func(t *testing.T) {
			var factory begin.EventFactory
			last := &recorder.Client{}
			last.OnRequest = func(ctx context.Context, _ *request) error {
				factory = begin.FromContext(ctx)
				return nil
			}
			last.OnReply = func(_ context.Context, c *conn) error {
				c.NetworkServiceEndpointName, c.Mechanism = "nse", &networkservice.Mechanism{Type: "KERNEL"}
				return nil
			}
			client := next.NewNetworkServiceClient(begin.NewClient(test.opts...), last)
			reply, err := client.Request(t.Context(), ask("a"))
			require.NoError(t, err)

			last.OnRequest = func(context.Context, *request) error { return errors.New("no endpoint yet") }
			require.Error(t, <-factory.Request(begin.WithReselect()))
			last.OnRequest = nil
			require.NoError(t, <-factory.Request(begin.WithReselect()))

			require.NotEmpty(t, last.Closes())
			for _, r := range last.Requests()[1:] {
				require.Nil(t, r.GetConnection().GetMechanism())
				require.Equal(t, test.endpoint, r.GetConnection().GetNetworkServiceEndpointName())
				require.Equal(t, networkservice.State_RESELECT_REQUESTED, r.GetConnection().GetState())
			}
			_, err = client.Request(t.Context(), &request{Connection: reply})
			require.NoError(t, err)
		})
	}
}

func TestARepeatedRequestIsAppliedAsAChange(t *testing.T) {
	var factory begin.EventFactory
	last := &recorder.Client{}
	last.OnRequest = func(ctx context.Context, _ *request) error {
		factory = begin.FromContext(ctx)
		return nil
	}
	last.OnReply = func(_ context.Context, c *conn) error {
		c.NetworkServiceEndpointName = fmt.Sprintf("nse-%d", len(last.Requests()))
		return nil
	}
	client := next.NewNetworkServiceClient(begin.NewClient(), last)
	reply, err := client.Request(t.Context(), ask("a"))
	require.NoError(t, err)
	require.NoError(t, <-factory.Request(begin.WithReselect())) // now it is nse-2

	reply.Labels = map[string]string{"color": "red"}
	_, err = client.Request(t.Context(), &request{Connection: reply})
	require.NoError(t, err)
	asked := last.Requests()[2].GetConnection()
	require.Equal(t, "nse-2", asked.GetNetworkServiceEndpointName(), "the client has not changed it")
	require.Equal(t, "red", asked.GetLabels()["color"])

	reply.NetworkServiceEndpointName = "wanted"
	_, err = client.Request(t.Context(), &request{Connection: reply})
	require.NoError(t, err)
	require.Equal(t, "wanted", last.Requests()[3].GetConnection().GetNetworkServiceEndpointName())
}
