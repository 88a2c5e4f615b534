// SPDX-License-Identifier: Apache-2.0

// Package authorize lets a call pass if its path satisfies all policies.
package authorize

import (
	"context"
	"fmt"

	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/opainput"
	"github.com/networkservicemesh/sdk/pkg/tools/opa"
)

// Policy decides about one input.
type Policy interface {
	// Name returns where the policy is from.
	Name() string
	// Check returns an error unless input may pass.
	Check(ctx context.Context, input interface{}) error
}

type spiffeIDConnectionMap = genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]

type options struct {
	paths       []string
	connections *spiffeIDConnectionMap
}

// Option configures NewClient and NewServer.
type Option func(*options)

// Any lets every call pass.
func Any() Option { return func(o *options) { o.paths = nil } }

// WithPolicies sets the policies: regular expressions for paths of policy
// files, see opa.PoliciesByFileMask.
func WithPolicies(policyPaths ...string) Option {
	return func(o *options) { o.paths = policyPaths }
}

// WithSpiffeIDConnectionMap has the server note there which peer owns which
// connections, for an authorizer of monitor streams to read.
func WithSpiffeIDConnectionMap(s *genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]]) Option {
	return func(o *options) { o.connections = s }
}

// policies is what New{Client,Server} make of the paths: their error is that of
// every call, since a constructor cannot fail.
type policies struct {
	list []*opa.AuthorizationPolicy
	err  error
}

func load(paths []string) policies {
	list, err := opa.PoliciesByFileMask(paths...)
	if err != nil {
		return policies{err: fmt.Errorf("authorize: load policies: %w", err)}
	}
	if len(list) == 0 && len(paths) > 0 {
		return policies{err: fmt.Errorf("authorize: no policy file matches any of %q", paths)}
	}
	return policies{list: list}
}

// check evaluates all policies for path. They are few and share one input, so
// one after the other is quickest.
func (p policies) check(ctx context.Context, path *networkservice.Path) error {
	if p.err != nil {
		return p.err
	}
	if len(p.list) == 0 {
		return nil
	}
	input, err := opainput.Prepare(ctx, path)
	if err != nil {
		return fmt.Errorf("authorize: %w", err)
	}
	for _, policy := range p.list {
		if err := policy.Check(ctx, input); err != nil {
			return fmt.Errorf("authorize: %w", err)
		}
	}
	return nil
}
