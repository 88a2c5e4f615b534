// SPDX-License-Identifier: Apache-2.0

// Package opa decides by Open Policy Agent policies whether a call may pass.
//
// A policy is a Rego module whose rule "valid" in package nsm says yes. The
// standard ones are built in under the paths etc/nsm/opa/<kind>/<name>.rego; a
// file on disk at such a path takes the place of the built-in one.
package opa

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/sdk/pkg/internal/opainput"
)

// CheckAccessFunc reads the verdict from the results of a query.
type CheckAccessFunc func(result rego.ResultSet) (bool, error)

// CheckQueryFunc returns the CheckAccessFunc for a query.
type CheckQueryFunc func(string) CheckAccessFunc

// True says yes if the query is true. It is an error if the results do not have
// the query, or it is not a boolean.
func True(query string) CheckAccessFunc {
	return func(results rego.ResultSet) (bool, error) {
		for _, result := range results {
			for _, expression := range result.Expressions {
				if !strings.HasSuffix(expression.Text, query) {
					continue
				}
				verdict, ok := expression.Value.(bool)
				if !ok {
					return false, fmt.Errorf("policy result %s is not a boolean: %v", query, expression.Value)
				}
				return verdict, nil
			}
		}
		return false, fmt.Errorf("policy has no result for %s", query)
	}
}

// AuthorizationPolicy is one Rego module and the rule in it that decides. It is
// safe for concurrent use.
type AuthorizationPolicy struct {
	name    string
	source  string
	query   string
	checker CheckAccessFunc
}

// WithPolicyFromSource returns the policy of the Rego module source.
func WithPolicyFromSource(source, query string, checkQuery CheckQueryFunc) *AuthorizationPolicy {
	return WithNamedPolicyFromSource("", source, query, checkQuery)
}

// WithNamedPolicyFromSource is WithPolicyFromSource with a name for errors.
func WithNamedPolicyFromSource(name, source, query string, checkQuery CheckQueryFunc) *AuthorizationPolicy {
	return &AuthorizationPolicy{name: name, source: source, query: query, checker: checkQuery(query)}
}

// Name returns where the policy is from.
func (d *AuthorizationPolicy) Name() string { return d.name }

// Check returns nil if the policy lets model pass, an error with status
// PermissionDenied if not, and Internal if the policy does not work.
func (d *AuthorizationPolicy) Check(ctx context.Context, model interface{}) error {
	input, ok := model.(*opainput.Prepared)
	if !ok {
		var err error
		if input, err = opainput.Prepare(ctx, model); err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
	query, err := compile(d.source, d.query)
	if err != nil {
		return status.Errorf(codes.Internal, "policy %s: %v", d.name, err)
	}
	results, err := query.Eval(ctx, rego.EvalParsedInput(input.Value))
	if err != nil {
		return status.Errorf(codes.Internal, "policy %s: evaluate: %v", d.name, err)
	}
	verdict, err := d.checker(results)
	if err != nil {
		return status.Errorf(codes.Internal, "policy %s: %v", d.name, err)
	}
	if !verdict {
		return status.Errorf(codes.PermissionDenied, "policy %s: no sufficient privileges", d.name)
	}
	return nil
}

// compiled holds the queries of the whole process: many elements share few
// policies, and compiling one costs a thousand evaluations.
var compiled sync.Map // module{source, query} -> func() (*rego.PreparedEvalQuery, error)

type module struct{ source, query string }

func compile(source, query string) (*rego.PreparedEvalQuery, error) {
	key := module{source, query}
	prepare, ok := compiled.Load(key)
	if !ok {
		prepare, _ = compiled.LoadOrStore(key, sync.OnceValues(func() (*rego.PreparedEvalQuery, error) {
			return prepareModule(source, query)
		}))
	}
	return prepare.(func() (*rego.PreparedEvalQuery, error))()
}

// prepareModule takes modules in the syntax of OPA before 1.0, which is what users'
// own policies are written in, and in that of today.
func prepareModule(source, query string) (*rego.PreparedEvalQuery, error) {
	parsed, err := ast.ParseModuleWithOpts("policy.rego", source, ast.ParserOptions{RegoVersion: ast.RegoV0})
	version := ast.RegoV0
	if err != nil {
		v0Err := err
		version = ast.RegoV1
		if parsed, err = ast.ParseModuleWithOpts("policy.rego", source, ast.ParserOptions{RegoVersion: version}); err != nil {
			return nil, fmt.Errorf("parse: %w", v0Err)
		}
	}
	prepared, err := rego.New(
		rego.SetRegoVersion(version),
		rego.ParsedModule(parsed),
		rego.Query(parsed.Package.Path.String()+"."+query),
	).PrepareForEval(context.Background())
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return &prepared, nil
}
