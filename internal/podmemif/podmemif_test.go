// SPDX-License-Identifier: Apache-2.0

package podmemif_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/api/pkg/api/networkservice/payload"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"

	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/internal/podmemif"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const longEnough = 20 * time.Second

var ids atomic.Uint32

func newID() string { return fmt.Sprintf("podmemif-%d-%d", os.Getpid(), ids.Add(1)) }

// mesh is what lies between a client and an endpoint: it gives the client's request to
// the endpoint, and the endpoint's socket to the client, as direct memif does.
type mesh struct {
	endpoint networkservice.NetworkServiceServer
	// socket is told to the client in place of the endpoint's.
	socket string
	err    error
	change func(*networkservice.Connection)
	closed int
	asked  *networkservice.NetworkServiceRequest
}

func (m *mesh) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	m.asked = request.Clone()
	if m.err != nil {
		return nil, m.err
	}
	conn := request.GetConnection().Clone()
	conn.Context = &networkservice.ConnectionContext{MTU: 1400, IpContext: &networkservice.IPContext{
		SrcIpAddrs: []string{"172.16.1.101/32", "2001:db8::1/128"}, DstIpAddrs: []string{"172.16.1.100/32", "2001:db8::/128"},
		SrcRoutes: []*networkservice.Route{{Prefix: "10.0.0.0/8"}},
	}}
	if m.change != nil {
		m.change(conn)
	}
	if m.endpoint == nil {
		conn.Mechanism = reply(m.socket)
		return conn, nil
	}
	theirs := conn.Clone()
	theirs.Id, theirs.Mechanism = conn.GetId()+"-endpoint", nil
	answer, err := m.endpoint.Request(ctx, &networkservice.NetworkServiceRequest{
		Connection:           theirs,
		MechanismPreferences: []*networkservice.Mechanism{{Cls: "LOCAL", Type: memifmech.MECHANISM}},
	})
	if err != nil {
		return nil, err
	}
	conn.Mechanism = answer.GetMechanism().Clone()
	return conn, nil
}

func (m *mesh) Close(ctx context.Context, conn *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	m.closed++
	if m.endpoint != nil {
		theirs := conn.Clone()
		theirs.Id = conn.GetId() + "-endpoint"
		return m.endpoint.Close(ctx, theirs)
	}
	return new(emptypb.Empty), nil
}

func reply(socket string) *networkservice.Mechanism {
	m := memifmech.NewAbstract("/proc/thread-self/ns/net")
	memifmech.ToMechanism(m).SetSocketFilename(socket)
	return m
}

// connections makes a Connections that ends with the test.
func connections(t *testing.T) *podmemif.Connections {
	t.Helper()
	c := new(podmemif.Connections)
	t.Cleanup(c.Close)
	return c
}

func clientOf(c *podmemif.Connections, m *mesh) networkservice.NetworkServiceClient {
	return chain.NewNetworkServiceClient(mechanisms.NewClient(map[string]networkservice.NetworkServiceClient{
		memifmech.MECHANISM: podmemif.NewClient(c),
	}), m)
}

func serverOf(c *podmemif.Connections, rest ...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	return chain.NewNetworkServiceServer(append([]networkservice.NetworkServiceServer{
		mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{memifmech.MECHANISM: podmemif.NewServer(c)}),
	}, rest...)...)
}

func request(id, load string) *networkservice.NetworkServiceRequest {
	mechanism := &networkservice.Mechanism{Cls: "LOCAL", Type: memifmech.MECHANISM, Parameters: map[string]string{"name": "nsm-1"}}
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: id, NetworkService: "service", Payload: load},
		MechanismPreferences: []*networkservice.Mechanism{mechanism},
	}
}

func listens(socket string) bool {
	table, err := os.ReadFile("/proc/net/unix")
	return err == nil && strings.Contains(string(table), socket)
}

func TestTwoPodsReachEachOther(t *testing.T) {
	for _, load := range []string{payload.Ethernet, payload.IP} {
		t.Run(load, func(t *testing.T) {
			here, there := connections(t), connections(t)
			m := &mesh{endpoint: serverOf(there)}
			client := clientOf(here, m)
			conn, err := client.Request(t.Context(), request(newID(), load))
			require.NoError(t, err)
			preference := memifmech.ToMechanism(m.asked.GetMechanismPreferences()[0])
			require.Equal(t, "file:///proc/thread-self/ns/net", preference.GetNetNSURL())
			require.Empty(t, preference.GetSocketFilename())
			mechanism := memifmech.ToMechanism(conn.GetMechanism())
			require.Equal(t, "file:///proc/thread-self/ns/net", mechanism.GetNetNSURL())
			require.Equal(t, "@/tmp/memif/"+conn.GetId()+"-endpoint/memif.socket", mechanism.GetSocketFilename())

			ctx, cancel := context.WithTimeout(t.Context(), longEnough)
			defer cancel()
			require.True(t, here.Alive(ctx, conn), "both families")
			require.NotNil(t, here.Lookup(netip.MustParseAddr("10.9.9.9")), "a route of the context")
			require.Nil(t, here.Lookup(netip.MustParseAddr("192.0.2.1")))
			require.NotNil(t, there.Lookup(netip.MustParseAddr("172.16.1.101")))

			// A refresh has everything filled in and changes nothing.
			stack, _ := here.Get(conn.GetId())
			again, err := client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			require.NoError(t, err)
			same, _ := here.Get(conn.GetId())
			require.Same(t, stack, same)
			require.True(t, here.Alive(ctx, again))

			_, err = client.Close(t.Context(), again)
			require.NoError(t, err)
			for _, c := range []*podmemif.Connections{here, there} {
				require.Nil(t, c.Lookup(netip.MustParseAddr("172.16.1.100")))
			}
			require.False(t, listens(mechanism.GetSocketFilename()))
			_, ok := here.Get(conn.GetId())
			require.False(t, ok)
		})
	}
}

func TestADeadEndpointIsNoticed(t *testing.T) {
	here, there := connections(t), connections(t)
	conn, err := clientOf(here, &mesh{endpoint: serverOf(there)}).Request(t.Context(), request(newID(), payload.IP))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	require.True(t, here.Alive(ctx, conn))
	there.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.False(t, here.Alive(ctx, conn))
}

func TestAnotherSocketMovesTheStack(t *testing.T) {
	here, first, second := connections(t), connections(t), connections(t)
	m := &mesh{endpoint: serverOf(first)}
	client := clientOf(here, m)
	conn, err := client.Request(t.Context(), request(newID(), payload.Ethernet))
	require.NoError(t, err)
	stack, _ := here.Get(conn.GetId())
	mac := stack.HardwareAddr()

	// The endpoint's other name is another socket.
	m.endpoint = chain.NewNetworkServiceServer(rename{}, serverOf(second))
	conn, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
	require.NoError(t, err)
	same, _ := here.Get(conn.GetId())
	require.Same(t, stack, same, "what the pod has open stays open")
	require.Equal(t, mac, same.HardwareAddr())
	first.Close()
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	require.True(t, here.Alive(ctx, conn))
}

// rename gives connections other ids.
type rename struct{}

func (rename) Request(ctx context.Context, r *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	r.Connection.Id += "-again"
	return chain.NewNetworkServiceServer().Request(ctx, r)
}

func (rename) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

func TestARefreshReconfigures(t *testing.T) {
	here, there := connections(t), connections(t)
	m := &mesh{endpoint: serverOf(there)}
	client := clientOf(here, m)
	conn, err := client.Request(t.Context(), request(newID(), payload.IP))
	require.NoError(t, err)
	m.change = func(c *networkservice.Connection) {
		c.GetContext().GetIpContext().SrcIpAddrs = []string{"172.16.2.101/32"}
		c.GetContext().GetIpContext().DstIpAddrs = []string{"172.16.2.100/32"}
		c.GetContext().MTU = 1300
	}
	conn, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	require.True(t, here.Alive(ctx, conn))
	require.Nil(t, there.Lookup(netip.MustParseAddr("172.16.1.101")), "the old address is gone")
}

func TestWhatCannotBeIsUndone(t *testing.T) {
	for name, test := range map[string]struct {
		m    *mesh
		want string
	}{
		"no socket":         {&mesh{}, "want '@' and a name"},
		"a file":            {&mesh{socket: "/etc/passwd"}, "want '@' and a name"},
		"a long name":       {&mesh{socket: "@" + strings.Repeat("x", 108)}, "want '@' and a name"},
		"only an @":         {&mesh{socket: "@"}, "want '@' and a name"},
		"a bad address":     {&mesh{socket: "@x", change: func(c *networkservice.Connection) { c.Context.IpContext.SrcIpAddrs = []string{"nonsense"} }}, "nonsense"},
		"an impossible MTU": {&mesh{socket: "@x", change: func(c *networkservice.Connection) { c.Context.MTU = 100 }}, "too small for IPv6"},
	} {
		t.Run(name, func(t *testing.T) {
			here := connections(t)
			r := request(newID(), payload.IP)
			_, err := clientOf(here, test.m).Request(t.Context(), r)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, 1, test.m.closed)
			_, ok := here.Get(r.GetConnection().GetId())
			require.False(t, ok)
		})
	}
}

func TestAFailedRefreshLeavesWhatThereIs(t *testing.T) {
	here, there := connections(t), connections(t)
	m := &mesh{endpoint: serverOf(there)}
	client := clientOf(here, m)
	conn, err := client.Request(t.Context(), request(newID(), payload.IP))
	require.NoError(t, err)
	for _, spoil := range []func(){
		func() { m.err = errors.New("the forwarder is away") },
		func() {
			m.change = func(c *networkservice.Connection) {
				c.Context.IpContext.DstRoutes = []*networkservice.Route{{Prefix: "x"}}
			}
		},
	} {
		spoil()
		_, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		require.Error(t, err)
		m.err = nil
		require.Zero(t, m.closed)
		ctx, cancel := context.WithTimeout(t.Context(), longEnough)
		require.True(t, here.Alive(ctx, conn))
		cancel()
	}
}

// failing fails after the mechanism has been served.
type failing struct{ err error }

func (f *failing) Request(context.Context, *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return nil, f.err
}

func (f *failing) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}

func TestAnEndpointThatRefusesDoesNotListen(t *testing.T) {
	there := connections(t)
	id := newID()
	_, err := serverOf(there, &failing{errors.New("no room")}).Request(t.Context(), request(id, payload.IP))
	require.ErrorContains(t, err, "no room")
	require.False(t, listens(id))

	bad := request(id, payload.IP)
	bad.Connection.Context = &networkservice.ConnectionContext{IpContext: &networkservice.IPContext{DstIpAddrs: []string{"bad"}}}
	_, err = serverOf(there).Request(t.Context(), bad)
	require.ErrorContains(t, err, "bad")
	require.False(t, listens(id))
}

func TestLongIDsHaveShortSockets(t *testing.T) {
	there := connections(t)
	id := strings.Repeat("long", 50)
	conn, err := serverOf(there).Request(t.Context(), request(id, payload.IP))
	require.NoError(t, err)
	socket := memifmech.ToMechanism(conn.GetMechanism()).GetSocketFilename()
	require.LessOrEqual(t, len(socket), 108)
	require.True(t, listens(socket))
}

func TestNegotiateOnlyTouchesNothing(t *testing.T) {
	here, there := &podmemif.Connections{NegotiateOnly: true}, &podmemif.Connections{NegotiateOnly: true}
	client := clientOf(here, &mesh{endpoint: serverOf(there)})
	conn, err := client.Request(t.Context(), request(newID(), payload.Ethernet))
	require.NoError(t, err)
	socket := memifmech.ToMechanism(conn.GetMechanism()).GetSocketFilename()
	require.False(t, listens(socket))
	require.True(t, here.Alive(t.Context(), conn), "nobody here can tell")
	// The program of the pod can have the socket.
	listener, err := memif.Listen(memif.Address{Socket: socket})
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	_, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	_, err = client.Close(t.Context(), conn)
	require.NoError(t, err)
	_, ok := here.Get(conn.GetId())
	require.False(t, ok)
}

func TestStacksAreAnnouncedAndTakenBack(t *testing.T) {
	var started, ended []string
	there := &podmemif.Connections{Started: func(id string, s *netstack.Stack) func() {
		require.NotNil(t, s)
		started = append(started, id)
		return func() { ended = append(ended, id) }
	}}
	t.Cleanup(there.Close)
	server := serverOf(there)
	id := newID()
	conn, err := server.Request(t.Context(), request(id, payload.IP))
	require.NoError(t, err)
	_, err = server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, []string{id}, started)
	require.Empty(t, ended)
	_, err = server.Close(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, []string{id}, ended)
}
