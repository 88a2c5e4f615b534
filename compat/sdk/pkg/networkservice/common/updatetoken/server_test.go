// SPDX-License-Identifier: Apache-2.0

package updatetoken_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatetoken"
)

func request() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "b",
		Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{
			{Name: "nsc", Id: "a", Token: "old"}, {Name: "hop", Id: "b"}, {Name: "next", Id: "c", Token: "theirs"},
		}},
	}}
}

func TestTokensOfTheCallerAndOfOurs(t *testing.T) {
	caller := svidtest.New(t).Issue("nsc", time.Hour)
	expires := time.Now().Add(time.Minute).UTC()
	var peer credentials.AuthInfo
	server := updatetoken.NewServer(func(info credentials.AuthInfo) (string, time.Time, error) {
		peer = info
		return "ours", expires.Add(time.Minute), nil
	})
	ctx := metadata.NewIncomingContext(svidtest.WithPeer(t.Context(), caller), metadata.Pairs(
		"nsm-client-token", "fresh", "nsm-client-token-expires", expires.Format(time.RFC3339Nano)))
	conn, err := server.Request(ctx, request())
	require.NoError(t, err)
	require.Equal(t, svidtest.AuthInfo(caller), peer, "the token is made for the caller")
	segments := conn.GetPath().GetPathSegments()
	require.Equal(t, "fresh", segments[0].GetToken())
	require.True(t, expires.Equal(segments[0].GetExpires().AsTime()))
	require.Equal(t, "ours", segments[1].GetToken())
	require.True(t, expires.Add(time.Minute).Equal(segments[1].GetExpires().AsTime()))
	require.Equal(t, "theirs", segments[2].GetToken())

	closed := request().GetConnection()
	_, err = server.Close(ctx, closed)
	require.NoError(t, err)
	require.Equal(t, "fresh", closed.GetPath().GetPathSegments()[0].GetToken())
}

func TestACallerWithoutTokenKeepsItsOwn(t *testing.T) {
	server := updatetoken.NewServer(func(credentials.AuthInfo) (string, time.Time, error) { return "ours", time.Now(), nil })
	conn, err := server.Request(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "old", conn.GetPath().GetPathSegments()[0].GetToken())
}

func TestWithoutATokenOfOursThereIsNoConnection(t *testing.T) {
	no := errors.New("no")
	server := updatetoken.NewServer(func(credentials.AuthInfo) (string, time.Time, error) { return "", time.Time{}, no })
	_, err := server.Request(t.Context(), request())
	require.ErrorIs(t, err, no)
	_, err = server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{}})
	require.Error(t, err)
}
