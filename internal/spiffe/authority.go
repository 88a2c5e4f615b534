// SPDX-License-Identifier: Apache-2.0

// Package spiffe is a SPIFFE authority in memory with a Workload API, for the demo and
// for tests: it stands where SPIRE stands in a cluster. Identities are real X.509-SVIDs
// that expire and are renewed; only attestation is missing, for a workload is whoever
// can open its socket.
package spiffe

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// DefaultTrustDomain is that of the stock deployment.
	DefaultTrustDomain = "k8s.nsm"
	// DefaultTTL of an SVID is that of the stock deployment.
	DefaultTTL = time.Hour

	// backdate is how far the start of a validity lies in the past, for clocks that
	// differ.
	backdate = 10 * time.Second
	// authorityTTL bounds the life of the authority's own certificate.
	authorityTTL = 10 * 365 * 24 * time.Hour
)

// Config of an authority. The zero value is usable.
type Config struct {
	// TrustDomain is DefaultTrustDomain if empty.
	TrustDomain string
	// TTL of an SVID, DefaultTTL if 0. It is renewed after half of it.
	TTL time.Duration
}

// Authority issues the SVIDs of one trust domain and serves them to workloads. Its
// methods may be called at the same time.
type Authority struct {
	domain spiffeid.TrustDomain
	ttl    time.Duration
	cert   *x509.Certificate
	key    crypto.Signer

	mu        sync.Mutex
	workloads map[*Workload]struct{}
	closed    bool
}

// NewAuthority makes an authority with a fresh key.
func NewAuthority(config Config) (*Authority, error) {
	if config.TrustDomain == "" {
		config.TrustDomain = DefaultTrustDomain
	}
	if config.TTL <= 0 {
		config.TTL = DefaultTTL
	}
	domain, err := spiffeid.TrustDomainFromString(config.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("make SPIFFE authority: trust domain %q: %w", config.TrustDomain, err)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("make SPIFFE authority: %w", err)
	}
	template := template(domain.ID(), authorityTTL)
	template.Subject = pkix.Name{Organization: []string{"NSM test authority"}, CommonName: domain.Name()}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make SPIFFE authority: %w", err)
	}
	return &Authority{
		domain: domain, ttl: config.TTL, cert: cert, key: key,
		workloads: make(map[*Workload]struct{}),
	}, nil
}

// TrustDomain of the authority's SVIDs.
func (a *Authority) TrustDomain() spiffeid.TrustDomain { return a.domain }

// svid is what a workload gets: its certificate and key, and when to get new ones.
type svid struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	renew time.Time
}

// issue makes an SVID with a key of its own, by the X.509-SVID standard: one URI name,
// no authority, usable on both ends of TLS.
func (a *Authority) issue(id spiffeid.ID) (*svid, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("issue SVID for %s: %w", id, err)
	}
	template := template(id, a.ttl)
	template.Subject = pkix.Name{Organization: []string{"NSM"}}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("issue SVID for %s: %w", id, err)
	}
	return &svid{cert: cert, key: key, renew: time.Now().Add(a.ttl / 2)}, nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	// The tokens of the mesh are ES256: P-256 is the only curve that works.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func template(id spiffeid.ID, ttl time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		URIs:                  []*url.URL{id.URL()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(ttl),
		BasicConstraintsValid: true,
	}
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Close ends all workloads.
func (a *Authority) Close() {
	a.mu.Lock()
	a.closed = true
	workloads := a.workloads
	a.workloads = nil
	a.mu.Unlock()
	for w := range workloads {
		w.stop()
	}
}
