// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

const patience = 10 * time.Second

// identity is an SVID that can be renewed.
type identity struct {
	ca   *svidtest.Authority
	name string
	svid atomic.Pointer[x509svid.SVID]
}

func newIdentity(ca *svidtest.Authority, name string) *identity {
	i := &identity{ca: ca, name: name}
	i.renew()
	return i
}

func (i *identity) renew()                               { i.svid.Store(i.ca.Issue(i.name, time.Hour)) }
func (i *identity) GetX509SVID() (*x509svid.SVID, error) { return i.svid.Load(), nil }
func (i *identity) tokens() token.GeneratorFunc {
	return spiffejwt.TokenGeneratorFunc(i, 10*time.Minute)
}
func (i *identity) serve() grpc.ServerOption { return grpc.Creds(credentials.NewTLS(i.ca.Server(i))) }
func (i *identity) dial() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(i.ca.Client(i))),
		grpc.WithPerRPCCredentials(token.NewPerRPCCredentials(i.tokens())),
	}
}

// hop is a server of a chain, which can be stopped and started again.
type hop struct {
	t     testing.TB
	id    *identity
	url   *url.URL
	build func(context.Context) networkservice.NetworkServiceServer
	stop  func()
}

func (h *hop) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ep := endpoint.NewServer(ctx, h.id.tokens(),
		endpoint.WithName(h.id.name),
		endpoint.WithAuthorizeServer(authorize.NewServer()),
		endpoint.WithAdditionalFunctionality(h.build(ctx)))
	listenOn := *h.url // Serve writes to it, and clients read ours
	errCh := endpoint.Serve(ctx, &listenOn, ep, h.id.serve())
	h.stop = sync.OnceFunc(func() {
		cancel()
		for err := range errCh {
			require.NoError(h.t, err)
		}
	})
	h.t.Cleanup(h.stop)
}

// recorder is the element at the end: what an endpoint does.
type recorder struct {
	mu       sync.Mutex
	requests []*networkservice.NetworkServiceRequest
	closes   []*networkservice.Connection
	fail     error
}

func (r *recorder) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.Clone())
	if r.fail != nil {
		return nil, r.fail
	}
	return next.Server(ctx).Request(ctx, request)
}

func (r *recorder) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closes = append(r.closes, conn.Clone())
	return next.Server(ctx).Close(ctx, conn)
}

func (r *recorder) counts() (requests, closes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests), len(r.closes)
}

// world is nsc -> mgr -> nse, over unix sockets.
type world struct {
	nsc, mgrID, nseID *identity
	mgr, nse          *hop
	end               *recorder
	url               *url.URL // of mgr
}

func newWorld(t testing.TB) *world {
	if _, isTest := t.(*testing.T); isTest {
		t.Cleanup(func() { goleak.VerifyNone(t) }) // registered first, so that it runs last
	}
	ca := svidtest.New(t)
	dir := t.TempDir()
	w := &world{nsc: newIdentity(ca, "nsc"), mgrID: newIdentity(ca, "mgr"), nseID: newIdentity(ca, "nse"), end: new(recorder)}
	w.nse = &hop{t: t, id: w.nseID, url: &url.URL{Scheme: "unix", Path: filepath.Join(dir, "nse.sock")}}
	w.nse.build = func(context.Context) networkservice.NetworkServiceServer { return w.end }
	w.nse.start()
	w.mgr = &hop{t: t, id: w.mgrID, url: &url.URL{Scheme: "unix", Path: filepath.Join(dir, "mgr.sock")}}
	w.mgr.build = func(ctx context.Context) networkservice.NetworkServiceServer {
		return next.NewNetworkServiceServer(
			clienturl.NewServer(w.nse.url),
			connect.NewServer(client.NewClient(ctx,
				client.WithName("mgr"), client.WithoutRefresh(), client.WithAuthorizeClient(authorize.NewClient()),
				client.WithDialOptions(w.mgrID.dial()...), client.WithDialTimeout(time.Second))))
	}
	w.mgr.start()
	w.url = w.mgr.url
	return w
}

func (w *world) client(t testing.TB, opts ...client.Option) networkservice.NetworkServiceClient {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return client.NewClient(ctx, append([]client.Option{
		client.WithName("nsc"), client.WithClientURL(w.url), client.WithAuthorizeClient(authorize.NewClient()),
		client.WithDialOptions(w.nsc.dial()...), client.WithDialTimeout(time.Second),
	}, opts...)...)
}

func request() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "nsc-0", NetworkService: "ns"}}
}

func names(path *networkservice.Path) (names []string) {
	for _, segment := range path.GetPathSegments() {
		names = append(names, segment.GetName())
	}
	return names
}

func TestThreeHopsOverTLSWithAllPolicies(t *testing.T) {
	w := newWorld(t)
	nsc := w.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	asked := request()
	conn, err := nsc.Request(ctx, asked)
	require.NoError(t, err)
	require.Equal(t, "nsc-0", conn.GetId())
	require.Zero(t, conn.GetPath().GetIndex())
	require.Equal(t, []string{"nsc", "mgr", "nse"}, names(conn.GetPath()))
	require.Equal(t, networkservice.State_UP, conn.GetState())
	for _, segment := range conn.GetPath().GetPathSegments() {
		require.NotEmpty(t, segment.GetToken())
		left := time.Until(segment.GetExpires().AsTime())
		require.True(t, left > 9*time.Minute && left <= 10*time.Minute, "%v", left)
	}

	again, err := nsc.Request(ctx, &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	for i, segment := range again.GetPath().GetPathSegments() {
		require.Equal(t, conn.GetPath().GetPathSegments()[i].GetId(), segment.GetId())
	}

	_, err = nsc.Close(ctx, again)
	require.NoError(t, err)
	requests, closes := w.end.counts()
	require.Equal(t, 2, requests)
	require.Equal(t, 1, closes)
}

func TestHealthOfAnEndpoint(t *testing.T) {
	w := newWorld(t)
	cc, err := grpc.NewClient(w.url.String(), w.nsc.dial()...)
	require.NoError(t, err)
	defer func() { _ = cc.Close() }()
	for _, service := range []string{"", "networkservice.NetworkService", "connection.MonitorConnection"} {
		reply, err := grpc_health_v1.NewHealthClient(cc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		require.NoError(t, err, service)
		require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, reply.GetStatus())
	}
}

func TestATokenForAnotherHopIsDenied(t *testing.T) {
	w := newWorld(t)
	other := newIdentity(w.nsc.ca, "other")
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(w.nsc.ca.Client(w.nsc))),
		grpc.WithPerRPCCredentials(token.NewPerRPCCredentials(other.tokens())), // not the key of the TLS connection
	}
	_, err := w.client(t, client.WithDialOptions(opts...)).Request(t.Context(), request())
	require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", err)
	requests, _ := w.end.counts()
	require.Zero(t, requests)
}

func TestRenewedSVIDsNeedNoAttention(t *testing.T) {
	w := newWorld(t)
	nsc := w.client(t)
	conn, err := nsc.Request(t.Context(), request())
	require.NoError(t, err)
	for _, id := range []*identity{w.nsc, w.mgrID, w.nseID} {
		// Over a connection younger than that, a denial is final.
		time.Sleep(300 * time.Millisecond)
		id.renew()
		conn, err = nsc.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		require.NoError(t, err, id.name)
	}
	_, closes := w.end.counts()
	require.Zero(t, closes)
	_, err = nsc.Close(t.Context(), conn)
	require.NoError(t, err)
}

func TestARefusalOfTheEndpointReachesTheClientOnce(t *testing.T) {
	w := newWorld(t)
	w.end.fail = status.Error(codes.ResourceExhausted, "no address left")
	_, err := w.client(t).Request(t.Context(), request())
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	requests, _ := w.end.counts()
	require.Equal(t, 1, requests)
}

func TestDialTimeout(t *testing.T) {
	w := newWorld(t)
	w.url = &url.URL{Scheme: "unix", Path: filepath.Join(t.TempDir(), "mute.sock")}
	mute, err := net.Listen("unix", w.url.Path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() })
	start := time.Now()
	_, err = w.client(t, client.WithDialTimeout(200*time.Millisecond)).Request(t.Context(), request())
	require.True(t, errors.Is(err, context.DeadlineExceeded), "%v", err)
	require.Less(t, time.Since(start), 2*time.Second)
}

func TestHealWithoutLivenessCheckSelectsAgainWhenAHopRestarts(t *testing.T) {
	for _, which := range []string{"mgr", "nse"} {
		t.Run(which, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			nsc := w.client(t, client.WithHealClient(heal.NewClient(ctx)))
			callCtx, cancelCall := context.WithTimeout(t.Context(), patience)
			defer cancelCall()
			conn, err := nsc.Request(callCtx, request())
			require.NoError(t, err)

			restarted := map[string]*hop{"mgr": w.mgr, "nse": w.nse}[which]
			restarted.stop()
			restarted.start()
			require.Eventually(t, func() bool {
				requests, _ := w.end.counts()
				return requests >= 2
			}, patience, 5*time.Millisecond)
			_, err = nsc.Close(callCtx, conn)
			require.NoError(t, err)
		})
	}
}

// BenchmarkSetUp is a connection through three hops, made and closed, with all
// policies, tokens and TLS handshakes; reported is the time to make it.
func BenchmarkSetUp(b *testing.B) {
	w := newWorld(b)
	nsc := w.client(b)
	var making time.Duration
	for b.Loop() {
		start := time.Now()
		conn, err := nsc.Request(b.Context(), request())
		making += time.Since(start)
		require.NoError(b, err)
		_, err = nsc.Close(b.Context(), conn)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(making.Microseconds())/float64(b.N), "us/request")
}

// BenchmarkRefresh is a Request for a connection that is established.
func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	nsc := w.client(b)
	conn, err := nsc.Request(b.Context(), request())
	require.NoError(b, err)
	for b.Loop() {
		conn, err = nsc.Request(b.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(b, err)
	}
}
