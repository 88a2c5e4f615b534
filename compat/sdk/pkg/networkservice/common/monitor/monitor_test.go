// SPDX-License-Identifier: Apache-2.0

package monitor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/loopback"
	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/monitor"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

const (
	patience = 10 * time.Second
	initial  = networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER
	update   = networkservice.ConnectionEventType_UPDATE
	remove   = networkservice.ConnectionEventType_DELETE
)

// hop is one server with a monitor.
type hop struct {
	chain  networkservice.NetworkServiceServer
	events networkservice.MonitorConnectionServer
	last   *recorder.Server
}

func newHop(t *testing.T, name string, additional ...networkservice.NetworkServiceServer) *hop {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	h := &hop{last: &recorder.Server{}}
	h.chain = next.NewNetworkServiceServer(append([]networkservice.NetworkServiceServer{
		updatepath.NewServer(name), begin.NewServer(), metadata.NewServer(),
		monitor.NewServer(ctx, &h.events), h.last,
	}, additional...)...)
	return h
}

func (h *hop) request(t *testing.T, id string) (*networkservice.Connection, error) {
	return h.chain.Request(t.Context(), request(id))
}

func request(id string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: id, NetworkService: "ns-" + id,
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: id}}},
	}}
}

type stream struct {
	networkservice.MonitorConnection_MonitorConnectionsClient
	t *testing.T
}

// subscribe returns a stream of which the initial event has been read.
func subscribe(t *testing.T, events networkservice.MonitorConnectionServer, selector *networkservice.MonitorScopeSelector, known int) stream {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	client, err := adapters.NewMonitorServerToClient(events).MonitorConnections(ctx, selector)
	require.NoError(t, err)
	s := stream{client, t}
	event, err := s.Recv()
	require.NoError(t, err)
	require.Equal(t, initial, event.GetType())
	require.Len(t, event.GetConnections(), known)
	return s
}

// expect reads one event, about one connection.
func (s stream) expect(kind networkservice.ConnectionEventType, state networkservice.State) *networkservice.Connection {
	s.t.Helper()
	event, err := s.Recv()
	require.NoError(s.t, err)
	require.Equal(s.t, kind, event.GetType(), "%v", event)
	require.Len(s.t, event.GetConnections(), 1)
	for id, conn := range event.GetConnections() {
		require.Equal(s.t, id, conn.GetId())
		require.Equal(s.t, state, conn.GetState(), "%v", event)
		return conn
	}
	return nil
}

func check(t *testing.T) { t.Cleanup(func() { goleak.VerifyNone(t) }) }

func TestEventsOfOneHop(t *testing.T) {
	check(t)
	h := newHop(t, "hop")
	early := subscribe(t, h.events, nil, 0)
	conn, err := h.request(t, "a")
	require.NoError(t, err)
	seen := early.expect(update, networkservice.State_UP)
	require.Equal(t, conn.GetPath().GetPathSegments()[1].GetId(), seen.GetId(), "the id is that at this hop")
	require.EqualValues(t, 1, seen.GetPath().GetIndex())
	late := subscribe(t, h.events, nil, 1)

	h.last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	_, err = h.chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.Error(t, err)
	_, err = h.request(t, "never was")
	require.Error(t, err)
	h.last.OnRequest = nil
	_, err = h.chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	_, err = h.chain.Close(t.Context(), conn.Clone())
	require.NoError(t, err)
	for _, s := range []stream{early, late} {
		s.expect(update, networkservice.State_DOWN)
		s.expect(update, networkservice.State_UP)
		s.expect(remove, networkservice.State_UP)
	}
	subscribe(t, h.events, nil, 0)
}

func TestSelectors(t *testing.T) {
	check(t)
	h := newHop(t, "hop")
	selector := &networkservice.MonitorScopeSelector{PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: "b"}}}
	onlyB := subscribe(t, h.events, selector, 0)
	for _, id := range []string{"a", "b"} {
		_, err := h.request(t, id)
		require.NoError(t, err)
	}
	require.Equal(t, "ns-b", onlyB.expect(update, networkservice.State_UP).GetNetworkService())
	subscribe(t, h.events, selector, 1)
	subscribe(t, h.events, &networkservice.MonitorScopeSelector{NetworkServices: []string{"ns-a"}}, 1)
	subscribe(t, h.events, nil, 2)
}

func TestElementsMaySendEvents(t *testing.T) {
	check(t)
	var consumer monitor.EventConsumer
	h := newHop(t, "hop")
	h.last.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		var ok bool
		consumer, ok = monitor.LoadEventConsumer(ctx, false)
		require.True(t, ok)
		_, ok = monitor.LoadEventConsumer(ctx, true)
		require.False(t, ok)
		return nil
	}
	conn, err := h.request(t, "a")
	require.NoError(t, err)
	s := subscribe(t, h.events, nil, 1)
	conn.State = networkservice.State_REFRESH_REQUESTED
	require.NoError(t, consumer.Send(&networkservice.ConnectionEvent{
		Type: update, Connections: map[string]*networkservice.Connection{conn.GetId(): conn},
	}))
	conn.State = networkservice.State_UP // what was sent must not change
	s.expect(update, networkservice.State_REFRESH_REQUESTED)
}

// pass returns a hop in front of the peer.
func pass(t *testing.T, cc grpc.ClientConnInterface) *hop {
	return newHop(t, "mgr", connect.NewServer(next.NewNetworkServiceClient(
		updatepath.NewClient("mgr"), metadata.NewClient(), clientconn.NewClient(cc), connect.NewClient())))
}

func TestAPassingHopHandsOnWhatTheNextHopSays(t *testing.T) {
	check(t)
	nse := newHop(t, "nse")
	peer := loopback.Serve(t, nse.chain, nse.events)
	mgr := pass(t, peer.Dial(t))
	conn, err := mgr.request(t, "a")
	require.NoError(t, err)
	other, err := mgr.request(t, "b")
	require.NoError(t, err)
	s := subscribe(t, mgr.events, &networkservice.MonitorScopeSelector{PathSegments: []*networkservice.PathSegment{{Id: "a"}}}, 1)

	var consumer monitor.EventConsumer
	nse.last.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		consumer, _ = monitor.LoadEventConsumer(ctx, false)
		return nil
	}
	_, err = mgr.chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	s.expect(update, networkservice.State_UP)

	theirs := conn.Clone()
	theirs.Id, theirs.Path.Index = conn.GetPath().GetPathSegments()[2].GetId(), 2
	theirs.State = networkservice.State_REFRESH_REQUESTED
	theirs.Path.PathSegments[2].Metrics = map[string]string{"rx": "1"}
	require.Eventually(t, func() bool { // until mgr has subscribed there
		require.NoError(t, consumer.Send(&networkservice.ConnectionEvent{
			Type: update, Connections: map[string]*networkservice.Connection{theirs.GetId(): theirs},
		}))
		return stateAt(t, mgr, "a") == networkservice.State_REFRESH_REQUESTED
	}, patience, 10*time.Millisecond)
	ours := s.expect(update, networkservice.State_REFRESH_REQUESTED)
	require.Equal(t, conn.GetPath().GetPathSegments()[1].GetId(), ours.GetId())
	require.EqualValues(t, 1, ours.GetPath().GetIndex())
	require.Equal(t, "1", ours.GetPath().GetPathSegments()[2].GetMetrics()["rx"])

	_, err = nse.chain.Close(t.Context(), func() *networkservice.Connection { // the endpoint gives up by itself
		c := conn.Clone()
		c.Id, c.Path.Index = conn.GetPath().GetPathSegments()[1].GetId(), 1
		return c
	}())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return stateAt(t, mgr, "a") == networkservice.State_DOWN }, patience, time.Millisecond)
	require.Equal(t, networkservice.State_UP, stateAt(t, mgr, "b"))

	peer.Stop()
	require.Eventually(t, func() bool { return stateAt(t, mgr, "b") == networkservice.State_DOWN }, patience, time.Millisecond)
	_, _ = mgr.chain.Close(t.Context(), other)
}

// stateAt returns the state of the connection that a new subscriber is told.
func stateAt(t *testing.T, h *hop, nscID string) networkservice.State {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client, err := adapters.NewMonitorServerToClient(h.events).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: nscID}},
	})
	require.NoError(t, err)
	event, err := client.Recv()
	require.NoError(t, err)
	for _, conn := range event.GetConnections() {
		return conn.GetState()
	}
	return -1
}

func TestANextHopWithoutEventsIsNotDown(t *testing.T) {
	check(t)
	nse := newHop(t, "nse")
	mgr := pass(t, loopback.Serve(t, nse.chain, nil).Dial(t))
	conn, err := mgr.request(t, "a")
	require.NoError(t, err)
	s := subscribe(t, mgr.events, nil, 1)
	for range 20 {
		_, err = mgr.chain.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		require.NoError(t, err)
		s.expect(update, networkservice.State_UP)
	}
	_, err = mgr.chain.Close(t.Context(), conn)
	require.NoError(t, err)
	s.expect(remove, networkservice.State_UP)
}
