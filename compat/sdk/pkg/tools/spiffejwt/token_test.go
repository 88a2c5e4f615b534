// SPDX-License-Identifier: Apache-2.0

package spiffejwt_test

import (
	"crypto/rand"
	"crypto/rsa"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"

	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
)

func TestClaims(t *testing.T) {
	ca := svidtest.New(t)
	long, short := ca.Issue("long", 24*time.Hour), ca.Issue("short", time.Minute)
	for _, test := range []struct {
		name        string
		own, peer   *x509svid.SVID
		max         time.Duration
		exp, expiry time.Duration // claimed and returned, from now
	}{
		{"the life time is what was asked for", long, long, time.Hour, time.Hour, time.Hour},
		{"but no longer than our certificate", short, long, time.Hour, time.Minute, time.Minute},
		{"and is not told to be longer than the peer's", long, short, time.Hour, time.Hour, time.Minute},
		{"without a peer there is no audience", long, nil, time.Hour, time.Hour, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			var info credentials.AuthInfo
			if test.peer != nil {
				info = svidtest.AuthInfo(test.peer)
			}
			text, expiry, err := spiffejwt.TokenGeneratorFunc(test.own, test.max)(info)
			require.NoError(t, err)

			claims := jwt.MapClaims{}
			token, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (interface{}, error) {
				return test.own.Certificates[0].PublicKey, nil
			}, jwt.WithValidMethods([]string{"ES256"}))
			require.NoError(t, err)
			require.True(t, token.Valid)
			require.Equal(t, test.own.ID.String(), claims["sub"])
			if test.peer != nil {
				require.Equal(t, []interface{}{test.peer.ID.String()}, claims["aud"])
				require.Len(t, claims, 3)
			} else {
				require.Len(t, claims, 2)
			}
			exp, err := claims.GetExpirationTime()
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(test.exp), exp.Time, 5*time.Second)
			require.WithinDuration(t, time.Now().Add(test.expiry), expiry, 5*time.Second)
			require.False(t, expiry.After(exp.Time), "the token outlives what is said of it")
		})
	}
}

func TestOnlyP256KeysSign(t *testing.T) {
	svid := svidtest.New(t).Issue("rsa", time.Hour)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	svid.PrivateKey = key
	_, _, err = spiffejwt.TokenGeneratorFunc(svid, time.Hour)(nil)
	require.ErrorContains(t, err, "P-256")
}
