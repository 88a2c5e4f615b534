// SPDX-License-Identifier: Apache-2.0

package spiffe_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nsm-afxdp/forwarder/internal/spiffe"
)

func authority(t *testing.T, config spiffe.Config) *spiffe.Authority {
	t.Helper()
	a, err := spiffe.NewAuthority(config)
	require.NoError(t, err)
	t.Cleanup(a.Close)
	return a
}

func source(t *testing.T, a *spiffe.Authority, path string) (*workloadapi.X509Source, *spiffe.Workload) {
	t.Helper()
	w, err := a.Listen(filepath.Join(t.TempDir(), "agent.sock"), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(w.URL())))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, w
}

func TestEverySocketGivesOutItsOwnIdentity(t *testing.T) {
	a := authority(t, spiffe.Config{})
	for _, path := range []string{"/ns/default/pod/nsc", "/ns/default/pod/nse"} {
		s, w := source(t, a, path)
		svid, err := s.GetX509SVID()
		require.NoError(t, err)
		require.Equal(t, "spiffe://k8s.nsm"+path, svid.ID.String())
		require.Equal(t, svid.ID, w.ID())
		// The tokens of the mesh are ES256.
		key, ok := svid.PrivateKey.(*ecdsa.PrivateKey)
		require.True(t, ok)
		require.Equal(t, "P-256", key.Curve.Params().Name)
		require.WithinDuration(t, time.Now().Add(time.Hour), svid.Certificates[0].NotAfter, 5*time.Second)
		require.False(t, svid.Certificates[0].IsCA)
	}
}

func TestTwoWorkloadsTalkMutualTLS(t *testing.T) {
	a := authority(t, spiffe.Config{TrustDomain: "example.org"})
	server, _ := source(t, a, "/server")
	client, _ := source(t, a, "/client")
	serverID := spiffeid.RequireFromString("spiffe://example.org/server")
	clientID := spiffeid.RequireFromString("spiffe://example.org/client")

	dial := func(as, trusting *workloadapi.X509Source) error {
		listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeID(clientID)))
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()
		served := make(chan error, 1)
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				_, err = conn.Write([]byte("hello"))
				_ = conn.Close()
			}
			served <- err
		}()
		conn, err := tls.Dial("tcp", listener.Addr().String(), tlsconfig.MTLSClientConfig(as, trusting, tlsconfig.AuthorizeID(serverID)))
		if err == nil {
			_, err = io.ReadAll(conn)
			_ = conn.Close()
		}
		return errors.Join(err, <-served)
	}
	require.NoError(t, dial(client, client))

	stranger, _ := source(t, authority(t, spiffe.Config{TrustDomain: "example.org"}), "/client")
	require.Error(t, dial(stranger, client), "an SVID of another authority was accepted")
	require.Error(t, dial(client, stranger), "a server of another authority was accepted")
}

func TestSVIDsAreRenewedOverAndOverBeforeTheyExpire(t *testing.T) {
	const ttl = 2 * time.Second
	s, _ := source(t, authority(t, spiffe.Config{TTL: ttl}), "/workload")
	seen := make(map[string]bool)
	started := time.Now()
	for len(seen) < 4 {
		svid, err := s.GetX509SVID()
		require.NoError(t, err)
		require.True(t, svid.Certificates[0].NotAfter.After(time.Now()), "an SVID expired before it was renewed")
		public, err := svid.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Bytes()
		require.NoError(t, err)
		seen[string(public)] = true
		if len(seen) == 4 {
			break
		}
		select {
		case <-s.Updated():
		case <-time.After(2 * ttl):
			t.Fatalf("no new SVID within %s; %d so far", 2*ttl, len(seen))
		}
	}
	// Three renewals, each after half of the life.
	require.InDelta(t, (3 * ttl / 2).Seconds(), time.Since(started).Seconds(), ttl.Seconds()/2+0.5)
}

func TestBundlesCanBeHadWithoutAnSVID(t *testing.T) {
	a := authority(t, spiffe.Config{})
	w, err := a.Listen(filepath.Join(t.TempDir(), "s"), "/x")
	require.NoError(t, err)
	bundles, err := workloadapi.FetchX509Bundles(t.Context(), workloadapi.WithAddr(w.URL()))
	require.NoError(t, err)
	bundle, err := bundles.GetX509BundleForTrustDomain(a.TrustDomain())
	require.NoError(t, err)
	require.Len(t, bundle.X509Authorities(), 1)
	require.True(t, bundle.X509Authorities()[0].IsCA)
}

func TestWhatIsNotOfferedIsRefusedByStatus(t *testing.T) {
	w, err := authority(t, spiffe.Config{}).Listen(filepath.Join(t.TempDir(), "s"), "/x")
	require.NoError(t, err)
	client, err := workloadapi.New(t.Context(), workloadapi.WithAddr(w.URL()))
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	_, err = client.FetchJWTBundles(t.Context())
	require.Equal(t, codes.Unimplemented, status.Code(err), "%v", err)

	// The standard's protection against requests that a proxy was talked into.
	cc, err := grpc.NewClient(w.URL(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { _ = cc.Close() }()
	svids, err := workload.NewSpiffeWorkloadAPIClient(cc).FetchX509SVID(t.Context(), &workload.X509SVIDRequest{})
	require.NoError(t, err)
	_, err = svids.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	bundles, err := workload.NewSpiffeWorkloadAPIClient(cc).FetchX509Bundles(t.Context(), &workload.X509BundlesRequest{})
	require.NoError(t, err)
	_, err = bundles.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
}

func TestAClosedWorkloadLeavesNoSocketAndCanComeBack(t *testing.T) {
	a := authority(t, spiffe.Config{TTL: time.Minute})
	path := filepath.Join(t.TempDir(), "agent.sock")
	w, err := a.Listen(path, "/x")
	require.NoError(t, err)
	w.Close()
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	// As after a crash: the file is there, nobody listens.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	w, err = a.Listen(path, "/x")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = workloadapi.FetchX509SVID(ctx, workloadapi.WithAddr(w.URL()))
	require.NoError(t, err)

	a.Close()
	_, err = a.Listen(path, "/x")
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestBadNamesAreErrors(t *testing.T) {
	_, err := spiffe.NewAuthority(spiffe.Config{TrustDomain: "Not A Domain"})
	require.ErrorContains(t, err, "trust domain")
	a := authority(t, spiffe.Config{})
	_, err = a.Listen(filepath.Join(t.TempDir(), "s"), "no-slash")
	require.ErrorContains(t, err, "SPIFFE path")
	_, err = a.Listen(filepath.Join(t.TempDir(), "missing", "s"), "/x")
	require.ErrorIs(t, err, os.ErrNotExist)
}
