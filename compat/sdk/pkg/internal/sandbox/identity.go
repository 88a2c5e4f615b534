// SPDX-License-Identifier: Apache-2.0

// Package sandbox runs parts of a mesh in one test process, over real gRPC with
// mutual TLS, SPIFFE identities and descriptor passing.
package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/edwarnicke/grpcfd"

	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// TokenLifetime of the identities' tokens.
const TokenLifetime = 10 * time.Minute

// Authority issues identities of one trust domain.
type Authority struct {
	domain spiffeid.TrustDomain
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial atomic.Int64
}

// NewAuthority returns the authority of trust domain test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{domain: spiffeid.RequireTrustDomainFromString("test")}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "sandbox"},
		URIs:                  []*url.URL{a.domain.ID().URL()},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.serial.Store(1)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// Identity is one process': an X.509-SVID that never rotates, and tokens.
type Identity struct {
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
}

// Issue returns the identity spiffe://test/<name>.
func (a *Authority) Issue(t testing.TB, name string) *Identity {
	t.Helper()
	id := spiffeid.RequireFromPath(a.domain, "/"+name)
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial.Add(1)),
		URIs:         []*url.URL{id.URL()},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &Identity{
		svid:   &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert}, PrivateKey: key},
		bundle: x509bundle.FromX509Authorities(a.domain, []*x509.Certificate{a.cert}),
	}
}

// Tokens returns the generator of this identity's tokens.
func (i *Identity) Tokens() token.GeneratorFunc {
	return spiffejwt.TokenGeneratorFunc(i.svid, TokenLifetime)
}

// ServerOptions are those of a gRPC server with this identity.
func (i *Identity) ServerOptions() []grpc.ServerOption {
	config := tlsconfig.MTLSServerConfig(i.svid, i.bundle, tlsconfig.AuthorizeAny())
	return []grpc.ServerOption{grpc.Creds(grpcfd.TransportCredentials(credentials.NewTLS(config)))}
}

// DialOptions are those of a gRPC client with this identity.
func (i *Identity) DialOptions() []grpc.DialOption {
	config := tlsconfig.MTLSClientConfig(i.svid, i.bundle, tlsconfig.AuthorizeAny())
	return []grpc.DialOption{
		grpc.WithTransportCredentials(grpcfd.TransportCredentials(credentials.NewTLS(config))),
		grpc.WithDefaultCallOptions(
			grpc.PerRPCCredentials(token.NewPerRPCCredentials(i.Tokens())),
		),
		grpcfd.WithChainStreamInterceptor(),
		grpcfd.WithChainUnaryInterceptor(),
	}
}
