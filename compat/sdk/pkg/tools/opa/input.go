// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"context"
	"crypto/x509"

	"google.golang.org/grpc/credentials"

	"github.com/networkservicemesh/sdk/pkg/internal/opainput"
)

// PreparedOpaInput returns the input of policies for model: its JSON as a map,
// and auth_info.certificate, the PEM of the TLS peer of ctx or "".
func PreparedOpaInput(ctx context.Context, model interface{}) (map[string]interface{}, error) {
	return opainput.Map(ctx, model)
}

// ParseX509Cert returns the certificate with which the peer authenticated, or
// nil.
func ParseX509Cert(authInfo credentials.AuthInfo) *x509.Certificate {
	return opainput.PeerCertificate(authInfo)
}
