// SPDX-License-Identifier: Apache-2.0

// Package svidtest issues X.509-SVIDs for tests.
package svidtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

const trustDomain = "k8s.nsm"

// Authority is the CA of a trust domain.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New returns a fresh CA.
func New(t testing.TB) *Authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &Authority{t: t, cert: cert, key: key}
}

// Issue returns an SVID for spiffe://k8s.nsm/<name>.
func (a *Authority) Issue(name string, lifetime time.Duration) *x509svid.SVID {
	id := spiffeid.RequireFromPath(spiffeid.RequireTrustDomainFromString(trustDomain), "/"+name)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:         []*url.URL{id.URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert}, PrivateKey: key}
}

// Client returns the TLS configuration of a client that source identifies.
func (a *Authority) Client(source x509svid.Source) *tls.Config {
	return tlsconfig.MTLSClientConfig(source, a.bundle(), tlsconfig.AuthorizeAny())
}

// Server returns the TLS configuration of a server that source identifies.
func (a *Authority) Server(source x509svid.Source) *tls.Config {
	return tlsconfig.MTLSServerConfig(source, a.bundle(), tlsconfig.AuthorizeAny())
}

func (a *Authority) bundle() x509bundle.Source {
	return x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString(trustDomain), []*x509.Certificate{a.cert})
}

// AuthInfo is what gRPC knows of a peer that authenticated with svid.
func AuthInfo(svid *x509svid.SVID) credentials.AuthInfo {
	return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: svid.Certificates}}
}

// WithPeer returns a context of a call by the owner of svid.
func WithPeer(ctx context.Context, svid *x509svid.SVID) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: AuthInfo(svid)})
}
