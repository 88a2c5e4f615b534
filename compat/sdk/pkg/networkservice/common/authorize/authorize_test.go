// SPDX-License-Identifier: Apache-2.0

package authorize_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
)

func mint(t *testing.T, from, to *x509svid.SVID) string {
	text, _, err := spiffejwt.TokenGeneratorFunc(from, time.Hour)(svidtest.AuthInfo(to))
	require.NoError(t, err)
	return text
}

func conn(index uint32, tokens ...string) *networkservice.Connection {
	c := &networkservice.Connection{Id: "b", Path: &networkservice.Path{Index: index}}
	for i, token := range tokens {
		c.Path.PathSegments = append(c.Path.PathSegments, &networkservice.PathSegment{Id: string(rune('a' + i)), Token: token})
	}
	return c
}

func TestTheServerSeesThePathUpToItself(t *testing.T) {
	ca := svidtest.New(t)
	nsc, mgr := ca.Issue("nsc", time.Hour), ca.Issue("mgr", time.Hour)
	server := authorize.NewServer()
	ctx := svidtest.WithPeer(t.Context(), nsc)
	leftover := conn(1, mint(t, nsc, mgr), mint(t, mgr, nsc), "stale")
	_, err := server.Request(ctx, &networkservice.NetworkServiceRequest{Connection: leftover.Clone()})
	require.NoError(t, err)
	_, err = server.Close(ctx, leftover.Clone())
	require.NoError(t, err)

	leftover.Path.Index = 2
	_, err = server.Request(ctx, &networkservice.NetworkServiceRequest{Connection: leftover.Clone()})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = server.Close(ctx, leftover.Clone())
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	leftover.Path.Index = 7
	_, err = server.Request(ctx, &networkservice.NetworkServiceRequest{Connection: leftover.Clone()})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestAnyLetsEverybodyPass(t *testing.T) {
	_, err := authorize.NewServer(authorize.Any()).Request(t.Context(), &networkservice.NetworkServiceRequest{})
	require.NoError(t, err)
	_, err = authorize.NewClient(authorize.Any()).Request(t.Context(), &networkservice.NetworkServiceRequest{})
	require.NoError(t, err)
}

func TestOwnPolicies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "named.rego")
	require.NoError(t, os.WriteFile(file, []byte("package nsm\ndefault valid = false\nvalid { input.path_segments[0].id == \"a\" }"), 0o600))
	server := authorize.NewServer(authorize.WithPolicies(file))
	_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn(0, "x")})
	require.NoError(t, err)
	_, err = server.Request(t.Context(), &networkservice.NetworkServiceRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	for _, mask := range []string{"no/such/.*.rego", "["} { // a mistake must not open the door
		_, err = authorize.NewServer(authorize.WithPolicies(mask)).Request(t.Context(), &networkservice.NetworkServiceRequest{})
		require.Error(t, err)
		_, err = authorize.NewClient(authorize.WithPolicies(mask)).Request(t.Context(), &networkservice.NetworkServiceRequest{})
		require.Error(t, err)
	}
}

func TestWhoOwnsWhichConnections(t *testing.T) {
	var owners genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]
	nsc := svidtest.New(t).Issue("nsc", time.Hour)
	ctx := svidtest.WithPeer(t.Context(), nsc)
	last := &recorder.Server{}
	server := next.NewNetworkServiceServer(authorize.NewServer(authorize.Any(), authorize.WithSpiffeIDConnectionMap(&owners)), last)
	request := &networkservice.NetworkServiceRequest{Connection: conn(1, "", "")}

	last.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return errors.New("no") }
	_, err := server.Request(ctx, request.Clone())
	require.Error(t, err)
	_, ok := owners.Load(nsc.ID)
	require.False(t, ok, "a connection that failed is owned by nobody")

	last.OnRequest = nil
	_, err = server.Request(ctx, request.Clone())
	require.NoError(t, err)
	owned, ok := owners.Load(nsc.ID)
	require.True(t, ok)
	_, ok = owned.Load("a")
	require.True(t, ok, "the id is that of the caller's segment")

	_, err = server.Close(ctx, request.GetConnection().Clone())
	require.NoError(t, err)
	_, ok = owners.Load(nsc.ID)
	require.False(t, ok)
}
