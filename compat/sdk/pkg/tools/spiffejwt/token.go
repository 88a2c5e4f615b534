// SPDX-License-Identifier: Apache-2.0

// Package spiffejwt makes tokens that a peer can check against the X.509-SVID
// with which we authenticate: JWTs (RFC 7519) signed ES256 by the SVID's key.
package spiffejwt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/credentials"

	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// TokenGeneratorFunc returns a generator of tokens of the SVID in source. Their
// claims are sub, our SPIFFE ID; aud, the peer's if it is known; exp, at most
// maxTokenLifeTime from now and no later than our certificate. The expiry that
// the generator returns is no later than the peer's certificate either.
func TokenGeneratorFunc(source x509svid.Source, maxTokenLifeTime time.Duration) token.GeneratorFunc {
	return func(peerAuthInfo credentials.AuthInfo) (string, time.Time, error) {
		svid, err := source.GetX509SVID()
		if err != nil {
			return "", time.Time{}, fmt.Errorf("make token: get own SVID: %w", err)
		}
		if len(svid.Certificates) == 0 {
			return "", time.Time{}, fmt.Errorf("make token: SVID of %s has no certificate", svid.ID)
		}
		key, ok := svid.PrivateKey.(*ecdsa.PrivateKey)
		if !ok || key.Curve != elliptic.P256() {
			return "", time.Time{}, fmt.Errorf("make token: SVID of %s: ES256 needs an EC P-256 key, not %T", svid.ID, svid.PrivateKey)
		}
		// The claim has whole seconds. An expiry that said more would have peers
		// close connections, at the last moment, with a token that has run out.
		expires := earlier(time.Now().Add(maxTokenLifeTime), svid.Certificates[0].NotAfter).Truncate(jwt.TimePrecision)
		claims := jwt.RegisteredClaims{
			Subject:   svid.ID.String(),
			ExpiresAt: jwt.NewNumericDate(expires),
		}
		if peer := peerCertificate(peerAuthInfo); peer != nil {
			id, idErr := x509svid.IDFromCert(peer)
			if idErr != nil {
				return "", time.Time{}, fmt.Errorf("make token: peer: %w", idErr)
			}
			claims.Audience = jwt.ClaimStrings{id.String()}
			expires = earlier(expires, peer.NotAfter)
		}
		text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(key)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("make token: sign: %w", err)
		}
		return text, expires, nil
	}
}

func peerCertificate(info credentials.AuthInfo) *x509.Certificate {
	var certificates []*x509.Certificate
	switch tls := info.(type) {
	case credentials.TLSInfo:
		certificates = tls.State.PeerCertificates
	case *credentials.TLSInfo:
		certificates = tls.State.PeerCertificates
	}
	if len(certificates) == 0 {
		return nil
	}
	return certificates[0]
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
