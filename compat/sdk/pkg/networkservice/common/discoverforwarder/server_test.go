// SPDX-License-Identifier: Apache-2.0

package discoverforwarder_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discoverforwarder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
)

// hop notes where requests and closes go.
type hop struct {
	refuse map[string]bool // by URL
	asked  []string
	closed string
}

func (h *hop) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	url := clienturlctx.ClientURL(ctx).String()
	h.asked = append(h.asked, url)
	if h.refuse[url] {
		return nil, errors.New("no room")
	}
	return request.GetConnection(), nil
}

func (h *hop) Close(ctx context.Context, _ *networkservice.Connection) (*emptypb.Empty, error) {
	h.closed = "nowhere"
	if u := clienturlctx.ClientURL(ctx); u != nil {
		h.closed = u.String()
	}
	return new(emptypb.Empty), nil
}

type world struct {
	*hop
	t          *testing.T
	ns         registry.NetworkServiceRegistryServer
	forwarders registry.NetworkServiceEndpointRegistryServer
	server     networkservice.NetworkServiceServer
}

func newWorld(t *testing.T, names ...string) *world {
	w := &world{
		hop: &hop{refuse: make(map[string]bool)}, t: t,
		ns: memory.NewNetworkServiceRegistryServer(), forwarders: memory.NewNetworkServiceEndpointRegistryServer(),
	}
	w.restart()
	_, err := w.ns.Register(context.Background(), &registry.NetworkService{Name: "ns"})
	require.NoError(t, err)
	for _, name := range names {
		_, err := w.forwarders.Register(context.Background(), &registry.NetworkServiceEndpoint{
			Name: name, NetworkServiceNames: []string{"forwarder"}, Url: "tcp://nsmgr/" + name,
		})
		require.NoError(t, err)
	}
	return w
}

func (w *world) restart() {
	w.server = next.NewNetworkServiceServer(metadata.NewServer(),
		discoverforwarder.NewServer(adapters.NetworkServiceServerToClient(w.ns), adapters.NetworkServiceEndpointServerToClient(w.forwarders),
			discoverforwarder.WithNSMgrURL("tcp://nsmgr")),
		w.hop)
}

func (w *world) request(state networkservice.State, nextHop string) error {
	w.asked = nil
	_, err := w.server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn(state, nextHop)})
	return err
}

func conn(state networkservice.State, nextHop string) *networkservice.Connection {
	return &networkservice.Connection{Id: "id", NetworkService: "ns", State: state, Path: &networkservice.Path{
		Index: 1, PathSegments: []*networkservice.PathSegment{{Name: "nsc"}, {Name: "nsmgr"}, {Name: nextHop}},
	}}
}

const up, reselect = networkservice.State_UP, networkservice.State_RESELECT_REQUESTED

func TestForwarderInThePathComesFirst(t *testing.T) {
	w := newWorld(t, "a", "b", "c")
	require.NoError(t, w.request(up, "c"))
	require.Equal(t, []string{"tcp://nsmgr/c"}, w.asked)

	w.restart()
	require.NoError(t, w.request(reselect, "c"))
	require.Equal(t, []string{"tcp://nsmgr/a"}, w.asked, "a reselect does not care")
}

func TestConnectionStaysWithItsForwarder(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.refuse["tcp://nsmgr/a"] = true
	require.NoError(t, w.request(up, ""))
	require.Equal(t, []string{"tcp://nsmgr/a", "tcp://nsmgr/b"}, w.asked)
	w.refuse["tcp://nsmgr/a"] = false
	require.NoError(t, w.request(up, ""))
	require.Equal(t, []string{"tcp://nsmgr/b"}, w.asked)

	w.refuse["tcp://nsmgr/b"] = true
	require.ErrorContains(t, w.request(up, ""), "forwarder b: no room")
	require.Equal(t, []string{"tcp://nsmgr/b"}, w.asked, "a refresh does not move")
	require.NoError(t, w.request(reselect, ""))
	require.NoError(t, w.request(up, ""))
	require.Equal(t, []string{"tcp://nsmgr/a"}, w.asked, "a reselect does")

	_, err := w.forwarders.Unregister(context.Background(), &registry.NetworkServiceEndpoint{Name: "a"})
	require.NoError(t, err)
	require.ErrorContains(t, w.request(up, ""), "a, which has the connection, is not available")
}

var errBroken = errors.New("the registry went away")

// brokenServices and brokenEndpoints deliver nothing, and no end either.
type brokenServices struct {
	registry.NetworkServiceRegistryServer
}

func (brokenServices) Find(*registry.NetworkServiceQuery, registry.NetworkServiceRegistry_FindServer) error {
	return errBroken
}

type brokenEndpoints struct {
	registry.NetworkServiceEndpointRegistryServer
}

func (brokenEndpoints) Find(*registry.NetworkServiceEndpointQuery, registry.NetworkServiceEndpointRegistry_FindServer) error {
	return errBroken
}

func TestWhatCannotBeReadIsNotTakenForMissing(t *testing.T) {
	w := newWorld(t, "a")
	services, forwarders := w.ns, w.forwarders
	w.ns = brokenServices{services}
	w.restart()
	require.ErrorIs(t, w.request(up, "a"), errBroken)

	w.ns, w.forwarders = services, brokenEndpoints{forwarders}
	w.restart()
	require.ErrorIs(t, w.request(up, "a"), errBroken)
	require.Empty(t, w.asked)
}

func TestClose(t *testing.T) {
	w := newWorld(t, "a", "b")
	for _, c := range []struct{ inPath, want string }{{"b", "tcp://nsmgr/b"}, {"gone", "nowhere"}, {"", "nowhere"}} {
		_, err := w.server.Close(context.Background(), conn(up, c.inPath))
		require.NoError(t, err)
		require.Equal(t, c.want, w.closed)
	}
	require.NoError(t, w.request(up, "b"))
	_, err := w.server.Close(context.Background(), conn(up, "a"))
	require.NoError(t, err)
	require.Equal(t, "tcp://nsmgr/b", w.closed, "where the connection is")
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	require.ErrorContains(t, w.request(up, ""), "discover forwarder: none is registered on tcp://nsmgr that serves ns")
	_, err := w.ns.Unregister(context.Background(), &registry.NetworkService{Name: "ns"})
	require.NoError(t, err)
	require.ErrorContains(t, w.request(up, ""), "discover network service ns: not registered")
	require.Panics(t, func() { discoverforwarder.NewServer(nil, nil) })
}
