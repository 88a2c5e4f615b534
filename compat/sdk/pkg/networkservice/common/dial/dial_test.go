// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
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
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/dial"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clienturlctx"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/clockmock"
)

const patience = 10 * time.Second

type fixture struct {
	client networkservice.NetworkServiceClient
	inside *recorder.Client // between dial and connect
	ccs    map[string]grpc.ClientConnInterface
	clock  *clockmock.Mock
}

func newFixture(t *testing.T, timeout time.Duration) *fixture {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	f := &fixture{inside: &recorder.Client{}, ccs: make(map[string]grpc.ClientConnInterface), clock: clockmock.New(context.Background())}
	ctx, cancel := context.WithCancel(clock.WithClock(context.Background(), f.clock))
	t.Cleanup(cancel)
	f.inside.OnRequest = func(ctx context.Context, request *networkservice.NetworkServiceRequest) error {
		cc, ok := clientconn.Load(ctx)
		if ok {
			f.ccs[request.GetConnection().GetId()] = cc
		}
		return nil
	}
	f.client = next.NewNetworkServiceClient(
		begin.NewClient(), metadata.NewClient(),
		dial.NewClient(ctx, dial.WithDialOptions(loopback.Insecure()), dial.WithDialTimeout(timeout)),
		f.inside, connect.NewClient())
	return f
}

func (f *fixture) request(t *testing.T, id string, u *url.URL) error {
	ctx := t.Context()
	if u != nil {
		ctx = clienturlctx.WithClientURL(ctx, u)
	}
	_, err := f.client.Request(ctx, &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}})
	return err
}

func (f *fixture) close(t *testing.T, id string) {
	_, err := f.client.Close(t.Context(), &networkservice.Connection{Id: id})
	require.NoError(t, err)
}

// endpoint serves a recorder.
func endpoint(t *testing.T) (*recorder.Server, *loopback.Peer) {
	server := &recorder.Server{}
	return server, loopback.Serve(t, server, nil)
}

func TestTheSameURLKeepsTheConnection(t *testing.T) {
	f := newFixture(t, patience)
	server, peer := endpoint(t)
	require.NoError(t, f.request(t, "a", peer.URL))
	first := f.ccs["a"]
	require.NoError(t, f.request(t, "a", peer.URL))
	require.Same(t, first, f.ccs["a"])
	f.close(t, "a")
	require.Len(t, server.Requests(), 2)
	require.Len(t, server.Closes(), 1)
}

func TestAnotherURLClosesTheOldWay(t *testing.T) {
	f := newFixture(t, patience)
	oldServer, oldPeer := endpoint(t)
	newServer, newPeer := endpoint(t)
	require.NoError(t, f.request(t, "a", oldPeer.URL))
	require.NoError(t, f.request(t, "a", newPeer.URL))
	require.Len(t, oldServer.Closes(), 1)
	require.Len(t, newServer.Requests(), 1)

	oldPeer.Stop()
	require.NoError(t, f.request(t, "a", newPeer.URL))
	f.close(t, "a")
	require.Len(t, newServer.Closes(), 1)
}

func TestAnOldWayThatIsGoneDoesNotMatter(t *testing.T) {
	f := newFixture(t, patience)
	_, oldPeer := endpoint(t)
	server, newPeer := endpoint(t)
	require.NoError(t, f.request(t, "a", oldPeer.URL))
	oldPeer.Stop()
	require.NoError(t, f.request(t, "a", newPeer.URL))
	require.Len(t, server.Requests(), 1)
}

func TestNobodyThere(t *testing.T) {
	f := newFixture(t, time.Minute)
	nobody := &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "nobody.sock")}
	require.ErrorContains(t, f.request(t, "a", nobody), "cannot be reached")
	require.Empty(t, f.inside.Requests())
}

func TestNobodyAnswers(t *testing.T) {
	f := newFixture(t, 50*time.Millisecond)
	mute := &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "mute.sock")}
	listener, err := net.Listen("unix", mute.Path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	require.ErrorIs(t, f.request(t, "a", mute), context.DeadlineExceeded)
	require.Empty(t, f.inside.Requests())
}

func TestWithoutAURLTheCallIsPassedOn(t *testing.T) {
	f := newFixture(t, patience)
	require.ErrorContains(t, f.request(t, "a", nil), "connect")
	require.Len(t, f.inside.Requests(), 1)
}

func TestAFailedFirstRequestLeavesNothing(t *testing.T) {
	f := newFixture(t, patience)
	server, peer := endpoint(t)
	server.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	require.Error(t, f.request(t, "a", peer.URL))
	server.OnRequest = nil
	require.NoError(t, f.request(t, "a", peer.URL))
	server.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	require.Error(t, f.request(t, "a", peer.URL))
	f.close(t, "a")
	require.Len(t, server.Closes(), 1, "a failed refresh took the way to the endpoint away")
}

func TestConnectionsOverTCPAreShared(t *testing.T) {
	f := newFixture(t, patience)
	server, peer := endpoint(t)
	for _, id := range []string{"a", "b"} {
		require.NoError(t, f.request(t, id, peer.URL))
	}
	require.Same(t, f.ccs["a"], f.ccs["b"])
	f.close(t, "a")
	require.NoError(t, f.request(t, "b", peer.URL))
	f.close(t, "b")
	require.NoError(t, f.request(t, "c", peer.URL))
	require.Same(t, f.ccs["b"], f.ccs["c"], "kept for a while")
	f.close(t, "c")

	// The clock calls in a goroutine, which a request may forestall.
	require.Eventually(t, func() bool {
		require.NoError(t, f.request(t, "d", peer.URL))
		renewed := f.ccs["d"] != f.ccs["c"]
		f.close(t, "d")
		f.clock.Add(time.Minute)
		return renewed
	}, patience, 5*time.Millisecond)
	require.NotEmpty(t, server.Closes())
}

func TestAnOldWayThatHangsDoesNotHoldUpTheNewOne(t *testing.T) {
	f := newFixture(t, 500*time.Millisecond)
	oldServer, oldPeer := endpoint(t)
	server, newPeer := endpoint(t)
	require.NoError(t, f.request(t, "a", oldPeer.URL))
	oldServer.OnClose = func(ctx context.Context, _ *networkservice.Connection) error {
		<-ctx.Done()
		return ctx.Err()
	}
	require.NoError(t, f.request(t, "a", newPeer.URL)) // its context has no deadline
	require.Len(t, server.Requests(), 1)
}
