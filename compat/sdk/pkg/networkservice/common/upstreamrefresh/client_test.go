// SPDX-License-Identifier: Apache-2.0

package upstreamrefresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/loopback"
	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/upstreamrefresh"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/eventchannel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

const patience = 10 * time.Second

func newClient(t *testing.T, opts ...upstreamrefresh.Option) (client networkservice.NetworkServiceClient, last *recorder.Client, events chan *networkservice.ConnectionEvent, connected chan int) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	events, connected = make(chan *networkservice.ConnectionEvent), make(chan int, 100)
	t.Cleanup(func() { close(events) })
	peer := loopback.Serve(t, nil, eventchannel.NewMonitorServer(events, eventchannel.WithConnectChannel(connected)))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	last = &recorder.Client{}
	return next.NewNetworkServiceClient(
		updatepath.NewClient("nsc"), begin.NewClient(), metadata.NewClient(),
		clientconn.NewClient(peer.Dial(t)), upstreamrefresh.NewClient(ctx, opts...), last), last, events, connected
}

func ask(t *testing.T, client networkservice.NetworkServiceClient, id string) *networkservice.Connection {
	conn, err := client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}})
	require.NoError(t, err)
	return conn
}

func say(conn *networkservice.Connection, state networkservice.State) *networkservice.ConnectionEvent {
	theirs := conn.Clone()
	theirs.Id, theirs.State, theirs.Path.Index = "hop", state, 1
	theirs.Path.PathSegments = append(theirs.Path.PathSegments, &networkservice.PathSegment{Name: "hop", Id: "hop"})
	return &networkservice.ConnectionEvent{
		Type: networkservice.ConnectionEventType_UPDATE, Connections: map[string]*networkservice.Connection{"hop": theirs},
	}
}

func TestTheNextHopMayAskForARefresh(t *testing.T) {
	client, last, events, connected := newClient(t)
	conn := ask(t, client, "a")
	require.Equal(t, 1, <-connected)
	for n := 2; n < 5; n++ {
		events <- say(conn, networkservice.State_UP)
		events <- say(conn, networkservice.State_DOWN)
		events <- say(conn, networkservice.State_REFRESH_REQUESTED)
		require.Eventually(t, func() bool { return len(last.Requests()) == n }, patience, time.Millisecond)
	}
	require.Empty(t, connected, "subscribed again for the refresh")
	require.Equal(t, networkservice.State_UP, last.Requests()[1].GetConnection().GetState())
	_, err := client.Close(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, 0, <-connected)
}

func TestConnectionsMayNotifyEachOther(t *testing.T) {
	client, last, _, _ := newClient(t, upstreamrefresh.WithLocalNotifications())
	var notifier upstreamrefresh.Notifier
	last.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		var ok bool
		notifier, ok = upstreamrefresh.LoadLocalNotifier(ctx, true)
		require.True(t, ok)
		return nil
	}
	for _, id := range []string{"a", "b", "c"} {
		ask(t, client, id)
	}
	_, err := client.Close(t.Context(), &networkservice.Connection{Id: "c", Path: &networkservice.Path{
		PathSegments: []*networkservice.PathSegment{{Name: "nsc", Id: "c"}},
	}})
	require.NoError(t, err)
	last.OnRequest = nil
	notifier.Notify(t.Context(), "a")
	require.Eventually(t, func() bool { return len(last.Requests()) == 4 }, patience, time.Millisecond)
	require.Equal(t, "b", last.Requests()[3].GetConnection().GetId())
}

func TestWithoutTheOptionThereIsNoNotifier(t *testing.T) {
	client, last, _, _ := newClient(t)
	last.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		_, ok := upstreamrefresh.LoadLocalNotifier(ctx, true)
		require.False(t, ok)
		return nil
	}
	ask(t, client, "a")
}
