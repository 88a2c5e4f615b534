// SPDX-License-Identifier: Apache-2.0

package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

func TestATokenArrivesAsItWasSent(t *testing.T) {
	expires := time.Now().Add(time.Hour)
	creds := token.NewPerRPCCredentials(func(credentials.AuthInfo) (string, time.Time, error) {
		return "text", expires, nil
	})
	require.True(t, creds.RequireTransportSecurity())
	md, err := creds.GetRequestMetadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, "text", md["nsm-client-token"])

	text, got, err := token.FromContext(metadata.NewIncomingContext(t.Context(), metadata.New(md)))
	require.NoError(t, err)
	require.Equal(t, "text", text)
	require.True(t, got.Equal(expires))
}

func TestMissingAndBrokenTokens(t *testing.T) {
	for name, md := range map[string]map[string]string{
		"nothing":       {},
		"no expiry":     {"nsm-client-token": "x"},
		"no token":      {"nsm-client-token-expires": time.Now().Format(time.RFC3339Nano)},
		"expiry broken": {"nsm-client-token": "x", "nsm-client-token-expires": "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := token.FromContext(metadata.NewIncomingContext(t.Context(), metadata.New(md)))
			require.Error(t, err)
		})
	}
	_, _, err := token.FromContext(t.Context())
	require.Error(t, err)

	no := errors.New("no")
	_, err = token.NewPerRPCCredentials(func(credentials.AuthInfo) (string, time.Time, error) {
		return "", time.Time{}, no
	}).GetRequestMetadata(t.Context())
	require.ErrorIs(t, err, no)
}
