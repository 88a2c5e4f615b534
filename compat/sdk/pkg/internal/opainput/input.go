// SPDX-License-Identifier: Apache-2.0

// Package opainput makes the input of authorization policies. One input serves
// any number of policies, so that the request is converted only once.
package opainput

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Prepared is an input in the form that policies are evaluated with.
type Prepared struct{ Value ast.Value }

// Prepare is Map followed by the conversion that every evaluation needs.
func Prepare(ctx context.Context, model interface{}) (*Prepared, error) {
	m, err := Map(ctx, model)
	if err != nil {
		return nil, err
	}
	value, err := ast.InterfaceToValue(m)
	if err != nil {
		return nil, fmt.Errorf("make policy input: %w", err)
	}
	return &Prepared{Value: value}, nil
}

// Map returns the JSON of model as a map, with auth_info.certificate added: the
// PEM of the TLS peer of ctx, or "".
func Map(ctx context.Context, model interface{}) (map[string]interface{}, error) {
	text, err := json.Marshal(model)
	if err != nil {
		return nil, fmt.Errorf("make policy input: %w", err)
	}
	var m map[string]interface{}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("make policy input of a %T: %w", model, err)
	}
	if m == nil {
		m = make(map[string]interface{})
	}
	certificate := ""
	if p, ok := peer.FromContext(ctx); ok {
		if cert := PeerCertificate(p.AuthInfo); cert != nil {
			certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		}
	}
	m["auth_info"] = map[string]interface{}{"certificate": certificate}
	return m, nil
}

// PeerCertificate returns the certificate with which the peer authenticated, or
// nil.
func PeerCertificate(info credentials.AuthInfo) *x509.Certificate {
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
