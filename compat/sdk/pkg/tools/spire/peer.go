// SPDX-License-Identifier: Apache-2.0

// Package spire reads the SPIFFE identity of peers.
package spire

import (
	"context"
	"errors"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/peer"

	"github.com/networkservicemesh/sdk/pkg/internal/opainput"
)

// PeerSpiffeIDFromContext returns the SPIFFE ID with which the peer of the call
// authenticated over TLS.
func PeerSpiffeIDFromContext(ctx context.Context) (spiffeid.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffeid.ID{}, errors.New("read peer identity: the call has no peer")
	}
	cert := opainput.PeerCertificate(p.AuthInfo)
	if cert == nil {
		return spiffeid.ID{}, errors.New("read peer identity: the peer has no certificate")
	}
	id, err := x509svid.IDFromCert(cert)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("read peer identity: %w", err)
	}
	return id, nil
}
