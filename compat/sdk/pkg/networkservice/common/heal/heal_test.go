// SPDX-License-Identifier: Apache-2.0

package heal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/loopback"
	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/eventchannel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

const patience = 10 * time.Second

// fixture is a client whose next hop says what the test wants, over gRPC; its
// requests end in a recorder.
type fixture struct {
	events    chan *networkservice.ConnectionEvent
	connected chan int
	peer      *loopback.Peer
	last      *recorder.Client
	client    networkservice.NetworkServiceClient
	conn      *networkservice.Connection
}

func newFixture(t *testing.T, opts ...heal.Option) *fixture {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	f := &fixture{
		events:    make(chan *networkservice.ConnectionEvent),
		connected: make(chan int, 100),
		last:      &recorder.Client{},
	}
	t.Cleanup(func() { close(f.events) })
	f.peer = loopback.Serve(t, nil, eventchannel.NewMonitorServer(f.events, eventchannel.WithConnectChannel(f.connected)))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	f.client = next.NewNetworkServiceClient(
		updatepath.NewClient("nsc"), begin.NewClient(), metadata.NewClient(),
		clientconn.NewClient(f.peer.Dial(t)), heal.NewClient(ctx, opts...), f.last)
	f.last.OnReply = func(_ context.Context, conn *networkservice.Connection) error {
		conn.NetworkServiceEndpointName = "nse"
		conn.Mechanism = &networkservice.Mechanism{Type: "KERNEL"}
		return nil
	}
	var err error
	f.conn, err = f.client.Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: "nsc-0"},
	})
	require.NoError(t, err)
	require.Equal(t, 1, <-f.connected)
	return f
}

// say sends an event in which the next hop has the connection in state.
func (f *fixture) say(kind networkservice.ConnectionEventType, state networkservice.State) {
	theirs := f.conn.Clone()
	theirs.Id, theirs.State, theirs.Path.Index = "hop-0", state, 1
	theirs.Path.PathSegments = append(theirs.Path.PathSegments, &networkservice.PathSegment{Name: "hop", Id: "hop-0"})
	f.events <- &networkservice.ConnectionEvent{
		Type: kind, Connections: map[string]*networkservice.Connection{theirs.GetId(): theirs},
	}
}

func (f *fixture) requireRequests(t *testing.T, atLeast int) []*networkservice.NetworkServiceRequest {
	t.Helper()
	require.Eventually(t, func() bool { return len(f.last.Requests()) >= atLeast }, patience, time.Millisecond)
	return f.last.Requests()
}

func requireReselect(t *testing.T, request *networkservice.NetworkServiceRequest) {
	t.Helper()
	require.Equal(t, networkservice.State_RESELECT_REQUESTED, request.GetConnection().GetState())
	require.Empty(t, request.GetConnection().GetNetworkServiceEndpointName())
	require.Nil(t, request.GetConnection().GetMechanism())
	require.Equal(t, "nsc-0", request.GetConnection().GetId())
}

func requireRefresh(t *testing.T, request *networkservice.NetworkServiceRequest) {
	t.Helper()
	require.Equal(t, networkservice.State_UP, request.GetConnection().GetState())
	require.Equal(t, "nse", request.GetConnection().GetNetworkServiceEndpointName())
}

func liveness(alive *atomic.Bool) []heal.Option {
	return []heal.Option{
		heal.WithLivenessCheck(func(context.Context, *networkservice.Connection) bool { return alive.Load() }),
		heal.WithLivenessCheckInterval(5 * time.Millisecond),
	}
}

func TestWithoutLivenessCheckALostControlPlaneMeansAnotherEndpoint(t *testing.T) {
	for name, lose := range map[string]func(f *fixture){
		"the next hop says DOWN":      func(f *fixture) { f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN) },
		"the next hop deletes it":     func(f *fixture) { f.say(networkservice.ConnectionEventType_DELETE, networkservice.State_UP) },
		"the stream of events breaks": func(f *fixture) { f.peer.Stop() },
		"the next hop knows nothing of it": func(f *fixture) {
			f.events <- &networkservice.ConnectionEvent{Type: networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			lose(f)
			requireReselect(t, f.requireRequests(t, 2)[1])
			closes := f.last.Closes()
			require.NotEmpty(t, closes)
			require.Equal(t, "nse", closes[0].GetNetworkServiceEndpointName())
		})
	}
}

func TestEventsThatDoNotBreakAnything(t *testing.T) {
	f := newFixture(t)
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_UP)
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_REFRESH_REQUESTED)
	f.events <- &networkservice.ConnectionEvent{Type: networkservice.ConnectionEventType_DELETE, Connections: map[string]*networkservice.Connection{
		"other": {Id: "other", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Id: "nsc-1"}, {Id: "other"}}}},
	}}
	// Only what comes after has any effect, and streams keep their order.
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("stop here") }
	require.Len(t, f.last.Requests(), 1)
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	f.requireRequests(t, 2)
	_, err := f.client.Close(t.Context(), f.conn)
	require.NoError(t, err)
}

func TestADeadDataPlaneMeansAnotherEndpoint(t *testing.T) {
	var alive atomic.Bool
	alive.Store(true)
	f := newFixture(t, liveness(&alive)...)
	alive.Store(false)
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		alive.Store(true) // another endpoint works
		return nil
	}
	requireReselect(t, f.requireRequests(t, 2)[1])
}

func TestOnlyTheDataPlaneDecidesWhenTheControlPlaneIsLost(t *testing.T) {
	var alive atomic.Bool
	alive.Store(true)
	f := newFixture(t, liveness(&alive)...)
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("nobody there") }
	f.peer.Stop()
	requests := f.requireRequests(t, 4)
	for _, request := range requests[1:] {
		requireRefresh(t, request)
	}
	require.Empty(t, f.last.Closes())

	alive.Store(false)
	require.Eventually(t, func() bool { return len(f.last.Closes()) > 0 }, patience, time.Millisecond)
	n := len(f.last.Requests())
	requireReselect(t, f.requireRequests(t, n+2)[n+1])
}

func TestARestoredControlPlaneNeedsNoOtherEndpoint(t *testing.T) {
	var alive atomic.Bool
	alive.Store(true)
	f := newFixture(t, liveness(&alive)...)
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	requireRefresh(t, f.requireRequests(t, 2)[1])
	require.Empty(t, f.last.Closes())
	for subscribers := <-f.connected; subscribers != 1 || len(f.connected) > 0; subscribers = <-f.connected {
		// the old watcher leaves, the new one comes
	}
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	f.requireRequests(t, 3)
}

func TestReselectIsRepeatedUntilItSucceeds(t *testing.T) {
	f := newFixture(t)
	var tries atomic.Int32
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		if tries.Add(1) < 4 {
			return errors.New("no endpoint")
		}
		return nil
	}
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	for _, request := range f.requireRequests(t, 5)[1:] {
		requireReselect(t, request)
	}
}

func TestCloseEndsHealing(t *testing.T) {
	f := newFixture(t)
	f.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no endpoint") }
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	f.requireRequests(t, 3)
	_, err := f.client.Close(t.Context(), f.conn)
	require.NoError(t, err)
	// goleak finds a watcher that goes on
}

func TestARefreshKeepsTheStream(t *testing.T) {
	f := newFixture(t)
	for range 10 {
		_, err := f.client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: f.conn.Clone()})
		require.NoError(t, err)
	}
	require.Empty(t, f.connected, "subscribed again")
	f.say(networkservice.ConnectionEventType_UPDATE, networkservice.State_DOWN)
	f.requireRequests(t, 12)
}
