// SPDX-License-Identifier: Apache-2.0

package opa_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/opainput"
	"github.com/networkservicemesh/sdk/pkg/internal/svidtest"
	"github.com/networkservicemesh/sdk/pkg/tools/opa"
	"github.com/networkservicemesh/sdk/pkg/tools/spiffejwt"
)

// mint returns a token of from for to that lives as long as asked.
func mint(t testing.TB, from, to *x509svid.SVID, lifetime time.Duration) string {
	text, _, err := spiffejwt.TokenGeneratorFunc(from, lifetime)(svidtest.AuthInfo(to))
	require.NoError(t, err)
	return text
}

func path(index uint32, tokens ...string) *networkservice.Path {
	p := &networkservice.Path{Index: index}
	for _, token := range tokens {
		p.PathSegments = append(p.PathSegments, &networkservice.PathSegment{Token: token})
	}
	return p
}

func check(ctx context.Context, t testing.TB, file string, model interface{}) error {
	policy, err := opa.PolicyFromFile(file)
	require.NoError(t, err)
	require.Equal(t, file, policy.Name())
	return policy.Check(ctx, model)
}

func TestPoliciesOfPaths(t *testing.T) {
	ca := svidtest.New(t)
	nsc, mgr, fwd := ca.Issue("nsc", time.Hour), ca.Issue("mgr", time.Hour), ca.Issue("fwd", time.Hour)
	first := mint(t, nsc, mgr, time.Hour)
	second := mint(t, mgr, fwd, time.Hour)
	expired := mint(t, nsc, mgr, -time.Minute)

	const (
		valid    = "etc/nsm/opa/common/tokens_valid.rego"
		alive    = "etc/nsm/opa/common/tokens_expired.rego"
		chained  = "etc/nsm/opa/common/tokens_chained.rego"
		previous = "etc/nsm/opa/server/prev_token_signed.rego"
		next     = "etc/nsm/opa/client/next_token_signed.rego"
	)
	for _, test := range []struct {
		name, policy string
		peer         *x509svid.SVID
		path         *networkservice.Path
		pass         bool
	}{
		{"well-formed tokens are valid", valid, nil, path(1, first, second), true},
		{"no token is no valid token", valid, nil, path(1, first, ""), false},
		{"garbage is no valid token", valid, nil, path(0, "not.a.token"), false},
		{"an empty path has no invalid token", valid, nil, path(0), true},
		{"tokens are alive before their expiry", alive, nil, path(1, first, second), true},
		{"one expired token spoils the path", alive, nil, path(1, expired, second), false},
		{"each token is for the next hop", chained, nil, path(1, first, second), true},
		{"one token needs no chain", chained, nil, path(0, first), true},
		{"tokens in another order are no chain", chained, nil, path(1, second, first), false},
		{"a gap breaks the chain", chained, nil, path(2, first, second, first), false},
		{"an unreadable token breaks the chain", chained, nil, path(1, first, "x"), false},
		{"the caller signed the token before ours", previous, nsc, path(1, first, second), true},
		{"another peer did not sign it", previous, fwd, path(1, first, second), false},
		{"a peer without certificate signed nothing", previous, nil, path(1, first, second), false},
		{"there is no token before the first", previous, nsc, path(0, first), false},
		{"the next hop signed its token", next, mgr, path(0, first, second), true},
		{"another hop did not sign it", next, nsc, path(0, first, second), false},
		{"the next hop must be in the path", next, mgr, path(1, first, second), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if test.peer != nil {
				ctx = svidtest.WithPeer(ctx, test.peer)
			}
			err := check(ctx, t, test.policy, test.path)
			if test.pass {
				require.NoError(t, err)
			} else {
				require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", err)
			}
		})
	}
}

func TestPoliciesOfRegistryAndMonitor(t *testing.T) {
	type m = map[string]interface{}
	const (
		registry = "etc/nsm/opa/registry/client_allowed.rego"
		monitor  = "etc/nsm/opa/monitor/service_connection.rego"
	)
	owned := m{"nse": []string{"spiffe://a", "spiffe://b"}}
	connections := m{"spiffe://a": []string{"1", "2"}, "spiffe://b": []string{"3"}}
	for _, test := range []struct {
		name, policy string
		input        m
		pass         bool
	}{
		{"a new resource is anybody's", registry, m{"resource_name": "new", "resource_id": "spiffe://c", "resource_path_ids_map": owned}, true},
		{"its first owner may change it", registry, m{"resource_name": "nse", "resource_id": "spiffe://a", "resource_path_ids_map": owned}, true},
		{"those it passed through may not", registry, m{"resource_name": "nse", "resource_id": "spiffe://b", "resource_path_ids_map": owned}, false},
		{"a service may watch its connection", monitor, m{"service_spiffe_id": "spiffe://a", "selector_connection_ids": []string{"2"}, "spiffe_id_connection_map": connections}, true},
		{"but not that of another", monitor, m{"service_spiffe_id": "spiffe://b", "selector_connection_ids": []string{"2"}, "spiffe_id_connection_map": connections}, false},
		{"nor everything", monitor, m{"service_spiffe_id": "spiffe://a", "spiffe_id_connection_map": connections}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := check(t.Context(), t, test.policy, test.input)
			require.Equal(t, test.pass, err == nil, "%v", err)
		})
	}
}

func TestPoliciesByFileMask(t *testing.T) {
	policies, err := opa.PoliciesByFileMask("etc/nsm/opa/common/.*.rego", "etc/nsm/opa/server/.*.rego")
	require.NoError(t, err)
	var names []string
	for _, policy := range policies {
		names = append(names, policy.Name())
	}
	require.Equal(t, []string{
		"etc/nsm/opa/common/tokens_chained.rego",
		"etc/nsm/opa/common/tokens_expired.rego",
		"etc/nsm/opa/common/tokens_valid.rego",
		"etc/nsm/opa/server/prev_token_signed.rego",
	}, names)

	_, err = opa.PoliciesByFileMask("etc/[")
	require.Error(t, err)
	_, err = opa.PolicyFromFile("etc/nsm/opa/common/missing.rego")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A user's own policies are as likely as not in the syntax before OPA 1.0.
const denyAll = "package nsm\n\ndefault valid = false\n\nvalid { input.never == 1 }\n"

func TestFilesOnDiskWinOverBuiltInOnes(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.MkdirAll(filepath.Join("etc", "nsm", "opa", "common"), 0o750))
	const replaced = "etc/nsm/opa/common/tokens_valid.rego"
	const added = "etc/nsm/opa/common/zz.rego"
	for _, file := range []string{replaced, added} {
		require.NoError(t, os.WriteFile(file, []byte(denyAll), 0o600))
	}
	policies, err := opa.PoliciesByFileMask("etc/nsm/opa/common/.*.rego")
	require.NoError(t, err)
	require.Len(t, policies, 4)
	for _, policy := range policies {
		err := policy.Check(t.Context(), path(0))
		switch policy.Name() {
		case replaced, added:
			require.Equal(t, codes.PermissionDenied, status.Code(err), policy.Name())
		default:
			require.NoError(t, err, policy.Name())
		}
	}
}

func TestBrokenPolicies(t *testing.T) {
	for name, source := range map[string]string{
		"syntax":            "package nsm\nvalid :=",
		"no such rule":      "package nsm\nother := true",
		"not a boolean":     "package nsm\nvalid := 1",
		"unknown function ": "package nsm\nvalid := f(1)",
	} {
		t.Run(name, func(t *testing.T) {
			policy := opa.WithPolicyFromSource(source, "valid", opa.True)
			require.Equal(t, codes.Internal, status.Code(policy.Check(t.Context(), path(0))))
		})
	}
}

// BenchmarkServerRequest is what authorizing one Request costs a hop in the
// middle of a path: all four policies for three segments, input included.
func BenchmarkServerRequest(b *testing.B) {
	ca := svidtest.New(b)
	nsc, mgr, fwd, nse := ca.Issue("nsc", time.Hour), ca.Issue("mgr", time.Hour), ca.Issue("fwd", time.Hour), ca.Issue("nse", time.Hour)
	policies, err := opa.PoliciesByFileMask("etc/nsm/opa/common/.*.rego", "etc/nsm/opa/server/.*.rego")
	require.NoError(b, err)
	p := path(2, mint(b, nsc, mgr, time.Hour), mint(b, mgr, fwd, time.Hour), mint(b, fwd, nse, time.Hour))
	ctx := svidtest.WithPeer(b.Context(), mgr)
	for b.Loop() {
		input, err := opainput.Prepare(ctx, p)
		require.NoError(b, err)
		for _, policy := range policies {
			require.NoError(b, policy.Check(ctx, input))
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	ca := svidtest.New(b)
	nsc, mgr, fwd, nse := ca.Issue("nsc", time.Hour), ca.Issue("mgr", time.Hour), ca.Issue("fwd", time.Hour), ca.Issue("nse", time.Hour)
	policies, err := opa.PoliciesByFileMask("etc/nsm/opa/common/.*.rego", "etc/nsm/opa/server/.*.rego")
	require.NoError(b, err)
	p := path(2, mint(b, nsc, mgr, time.Hour), mint(b, mgr, fwd, time.Hour), mint(b, fwd, nse, time.Hour))
	ctx := svidtest.WithPeer(b.Context(), mgr)
	for _, policy := range policies {
		b.Run(filepath.Base(policy.Name()), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, policy.Check(ctx, p))
			}
		})
	}
}
