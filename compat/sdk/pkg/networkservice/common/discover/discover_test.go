// SPDX-License-Identifier: Apache-2.0

package discover_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

// end is where the chain leads.
type end struct {
	refuse   map[string]bool // endpoints that are not there
	tried    []string
	url      *url.URL
	payload  string
	isClosed bool
}

func (e *end) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	e.tried = append(e.tried, conn.GetNetworkServiceEndpointName())
	e.url, e.payload = clienturlctx.ClientURL(ctx), conn.GetPayload()
	if e.refuse[conn.GetNetworkServiceEndpointName()] {
		return nil, errors.New("connection refused")
	}
	return conn, nil
}

func (e *end) Close(ctx context.Context, _ *networkservice.Connection) (*emptypb.Empty, error) {
	e.url, e.isClosed = clienturlctx.ClientURL(ctx), true
	return new(emptypb.Empty), nil
}

type world struct {
	t   *testing.T
	ns  registry.NetworkServiceRegistryClient
	nse registry.NetworkServiceEndpointRegistryClient
	end *end
	networkservice.NetworkServiceServer
}

func newWorld(t *testing.T) *world {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	w := &world{
		t:   t,
		ns:  adapters.NetworkServiceServerToClient(memory.NewNetworkServiceRegistryServer()),
		nse: adapters.NetworkServiceEndpointServerToClient(memory.NewNetworkServiceEndpointRegistryServer()),
		end: &end{refuse: make(map[string]bool)},
	}
	w.NetworkServiceServer = next.NewNetworkServiceServer(discover.NewServer(w.ns, w.nse), roundrobin.NewServer(), w.end)
	return w
}

func (w *world) service(matches ...*registry.Match) {
	_, err := w.ns.Register(context.Background(), &registry.NetworkService{Name: "ns", Payload: "ETHERNET", Matches: matches})
	require.NoError(w.t, err)
}

func (w *world) endpoint(name, app string) {
	_, err := w.nse.Register(context.Background(), &registry.NetworkServiceEndpoint{
		Name: name, NetworkServiceNames: []string{"ns"}, Url: "tcp://" + name,
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{"ns": {Labels: map[string]string{"app": app}}},
	})
	require.NoError(w.t, err)
}

func ask(nseName string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "id", NetworkService: "ns", NetworkServiceEndpointName: nseName, Labels: map[string]string{"app": "b"},
	}}
}

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestEachInTurn(t *testing.T) {
	w := newWorld(t)
	w.service()
	w.endpoint("one", "a")
	w.endpoint("two", "b")
	for _, want := range []string{"one", "two", "one", "two"} {
		conn, err := w.Request(short(t), ask(""))
		require.NoError(t, err)
		require.Equal(t, want, conn.GetNetworkServiceEndpointName())
		require.Equal(t, "tcp://"+want, w.end.url.String())
		require.Equal(t, "ETHERNET", w.end.payload)
	}
}

func TestTheNextCandidateIsTried(t *testing.T) {
	w := newWorld(t)
	w.service()
	w.endpoint("one", "a")
	w.endpoint("two", "b")
	w.end.refuse["one"] = true
	conn, err := w.Request(short(t), ask(""))
	require.NoError(t, err)
	require.Equal(t, "two", conn.GetNetworkServiceEndpointName())
	w.end.refuse["two"] = true
	request := ask("")
	_, err = w.Request(short(t), request)
	require.ErrorContains(t, err, "one: connection refused")
	require.ErrorContains(t, err, "two: connection refused")
	require.Empty(t, request.GetConnection().GetNetworkServiceEndpointName())
}

func TestSelectors(t *testing.T) {
	w := newWorld(t)
	w.service(&registry.Match{Routes: []*registry.Destination{{DestinationSelector: map[string]string{"app": "{{ .app }}"}}}})
	w.endpoint("one", "a")
	w.endpoint("two", "b")
	for range 2 {
		conn, err := w.Request(short(t), ask(""))
		require.NoError(t, err)
		require.Equal(t, "two", conn.GetNetworkServiceEndpointName())
	}
}

func TestNamedEndpoint(t *testing.T) {
	w := newWorld(t)
	w.service()
	w.endpoint("one", "a")
	w.endpoint("two", "b")
	for range 2 {
		_, err := w.Request(short(t), ask("two"))
		require.NoError(t, err)
		require.Equal(t, "tcp://two", w.end.url.String())
	}
	_, err := w.Request(short(t), ask("three"))
	require.ErrorContains(t, err, "discover endpoint three: not found")

	_, err = w.Close(short(t), ask("two").GetConnection())
	require.NoError(t, err)
	require.Equal(t, "tcp://two", w.end.url.String())
	w.end.isClosed = false
	start := time.Now()
	_, err = w.Close(context.Background(), ask("three").GetConnection())
	require.NoError(t, err)
	require.True(t, w.end.isClosed, "closed though the endpoint is gone")
	require.Nil(t, w.end.url)
	require.Less(t, time.Since(start), time.Second, "and at once")
}

func TestKnownURL(t *testing.T) {
	w := newWorld(t)
	u := &url.URL{Scheme: "tcp", Host: "elsewhere"}
	_, err := w.Request(clienturlctx.WithClientURL(short(t), u), ask(""))
	require.NoError(t, err)
	require.Equal(t, u, w.end.url)
}

func TestExpiredEndpointIsNoCandidate(t *testing.T) {
	w := newWorld(t)
	w.service()
	_, err := w.nse.Register(context.Background(), &registry.NetworkServiceEndpoint{
		Name: "late", NetworkServiceNames: []string{"ns"}, Url: "tcp://late", ExpirationTime: timestamppb.New(time.Now().Add(-time.Second)),
	})
	require.NoError(t, err)
	_, err = w.Request(short(t), ask(""))
	require.ErrorContains(t, err, "discover an endpoint for network service ns: not found")
}

func TestWhatIsMissingIsWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		ask    string
		before func(*world)
		after  func(*world)
	}{
		"the network service": {"", func(w *world) { w.endpoint("one", "a") }, func(w *world) { w.service() }},
		"any endpoint":        {"", func(w *world) { w.service() }, func(w *world) { w.endpoint("one", "a") }},
		"the endpoint":        {"one", func(w *world) { w.service() }, func(w *world) { w.endpoint("one", "a") }},
		"an endpoint that is admitted": {"", func(w *world) {
			w.service(&registry.Match{Routes: []*registry.Destination{{DestinationSelector: map[string]string{"app": "a"}}}})
			w.endpoint("other", "b")
		}, func(w *world) { w.endpoint("one", "a") }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.before(w)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			timer := time.AfterFunc(50*time.Millisecond, func() { c.after(w) })
			defer timer.Stop()
			conn, err := w.Request(ctx, ask(c.ask))
			require.NoError(t, err)
			require.Equal(t, "one", conn.GetNetworkServiceEndpointName())
		})
	}
}

func TestWaitingEndsBeforeTheDeadline(t *testing.T) {
	w := newWorld(t)
	ctx := short(t)
	_, err := w.Request(ctx, ask(""))
	require.ErrorContains(t, err, "discover network service ns: not found")
	require.NoError(t, ctx.Err(), "there is time left to tell the client")
}
