// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/registry/common/connect"
	"github.com/networkservicemesh/sdk/pkg/registry/common/dial"
	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

const patience = 10 * time.Second

// door notes over how many connections calls come, and refuses some.
type door struct {
	either.PassNSServer
	mu     sync.Mutex
	refuse int
	calls  int
	peers  map[string]bool
}

func (d *door) Register(ctx context.Context, in *registry.NetworkService) (*registry.NetworkService, error) {
	p, _ := peer.FromContext(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	d.peers[p.Addr.String()] = true
	if d.refuse > 0 {
		d.refuse--
		return nil, status.Error(codes.PermissionDenied, "refused for the test")
	}
	return next.NetworkServiceRegistryServer(ctx).Register(ctx, in)
}

func (d *door) seen() (calls, peers int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls, len(d.peers)
}

type world struct {
	*door
	t         *testing.T
	authority *sandbox.Authority
	url       *url.URL
	client    registry.NetworkServiceRegistryClient
	end       context.CancelFunc
}

func newWorld(t *testing.T, opts ...dial.Option) *world {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	w := &world{door: &door{peers: make(map[string]bool)}, t: t, authority: sandbox.NewAuthority(t), url: sandbox.TCP(t)}
	ctx, cancel := context.WithCancel(context.Background())
	w.end = cancel
	t.Cleanup(cancel)
	w.client = next.NewNetworkServiceRegistryClient(
		clienturl.NewNetworkServiceRegistryClient(w.url),
		clientconn.NewNetworkServiceRegistryClient(),
		dial.NewNetworkServiceRegistryClient(ctx, append(opts, dial.WithDialOptions(w.authority.Issue(t, "client").DialOptions()...))...),
		connect.NewNetworkServiceRegistryClient(),
	)
	return w
}

func (w *world) start() *sandbox.Process {
	return sandbox.Start(w.t, w.authority.Issue(w.t, "server"), func(context.Context) func(*grpc.Server) {
		server := next.NewNetworkServiceRegistryServer(w.door, memory.NewNetworkServiceRegistryServer())
		return func(s *grpc.Server) { registry.RegisterNetworkServiceRegistryServer(s, server) }
	}, w.url)
}

func (w *world) register() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := w.client.Register(ctx, &registry.NetworkService{Name: "ns"})
	return err
}

func TestCallsShareAConnection(t *testing.T) {
	w := newWorld(t)
	w.start()
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := w.register(); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	calls, peers := w.seen()
	require.Equal(t, 20, calls)
	require.Equal(t, 1, peers)
}

func TestAServerThatComesBackIsReachedAtOnce(t *testing.T) {
	w := newWorld(t)
	process := w.start()
	require.NoError(t, w.register())
	process.Kill()
	var err error
	for range 20 { // gRPC's own back-off would be seconds by now
		err = w.register()
		require.Equal(t, codes.Unavailable, status.Code(err), err)
	}
	require.ErrorContains(t, err, w.url.String())
	require.ErrorContains(t, err, "connection refused")
	w.start()
	start := time.Now()
	require.NoError(t, w.register())
	require.Less(t, time.Since(start), 500*time.Millisecond)
}

func TestDialTimeout(t *testing.T) {
	w := newWorld(t, dial.WithDialTimeout(100*time.Millisecond))
	listener, err := net.Listen("tcp", w.url.Host) // accepts and never answers
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	start := time.Now()
	err = w.register()
	require.ErrorContains(t, err, "not connected within 100ms")
	require.Less(t, time.Since(start), 5*time.Second)
}

func TestARefusalOverAnOldConnectionIsNotFinal(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.refuse = 1
	require.Equal(t, codes.PermissionDenied, status.Code(w.register()), "the connection is new: it is meant")
	time.Sleep(1100 * time.Millisecond) // the age that counts as old
	w.mu.Lock()
	w.refuse = 1
	w.mu.Unlock()
	require.NoError(t, w.register())
	calls, peers := w.seen()
	require.Equal(t, 3, calls)
	require.Equal(t, 2, peers, "the second try went over another connection")
}

func TestAWatchHasAConnectionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	w.start()
	require.NoError(t, w.register())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := w.client.Find(ctx, &registry.NetworkServiceQuery{NetworkService: new(registry.NetworkService), Watch: true})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	cancel()
	_, err = stream.Recv()
	require.Equal(t, codes.Canceled, status.Code(err))
	require.NoError(t, w.register())

	w.end()
	// Connections that stand are closed a moment later.
	require.Eventually(t, func() bool { return status.Code(w.register()) == codes.Canceled }, 10*time.Second, time.Millisecond,
		"nothing is dialed any more")
}

func TestNoURL(t *testing.T) {
	client := next.NewNetworkServiceRegistryClient(
		clientconn.NewNetworkServiceRegistryClient(),
		dial.NewNetworkServiceRegistryClient(context.Background()),
		connect.NewNetworkServiceRegistryClient(),
	)
	_, err := client.Register(context.Background(), new(registry.NetworkService))
	require.ErrorContains(t, err, "is the URL to dial set?")
}
