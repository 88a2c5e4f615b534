// SPDX-License-Identifier: Apache-2.0

// Package authorize asks OPA policies whether a registration is allowed.
package authorize

import (
	"context"
	"fmt"

	"github.com/edwarnicke/genericsync"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/opa"
)

// RegistryOpaInput is what the policies are shown, as JSON.
type RegistryOpaInput struct {
	// ResourceID is the SPIFFE ID of the process that registers.
	ResourceID   string `json:"resource_id"`
	ResourceName string `json:"resource_name"`
	// ResourcePathIDsMap has the path_ids of what is registered, by name.
	ResourcePathIDsMap map[string][]string         `json:"resource_path_ids_map"`
	PathSegments       []*grpcmetadata.PathSegment `json:"path_segments"`
	Index              uint32                      `json:"index"`
}

// Policy allows by returning nil.
type Policy interface {
	Name() string
	Check(ctx context.Context, input interface{}) error
}

// Option changes the element.
type Option func(*options)

type options struct {
	policies []Policy
	pathIDs  *genericsync.Map[string, []string]
}

// Any allows everything. It is what an element without options does.
func Any() Option {
	return func(o *options) { o.policies = nil }
}

// WithPolicies sets the policies by the paths of their files, which may be
// patterns. It panics if one cannot be read or none is found, for then nothing
// would be checked.
func WithPolicies(policyPaths ...string) Option {
	return func(o *options) {
		policies, err := opa.PoliciesByFileMask(policyPaths...)
		if err != nil {
			panic(fmt.Sprintf("registry authorize: read policies: %v", err))
		}
		if len(policies) == 0 && len(policyPaths) > 0 {
			panic(fmt.Sprintf("registry authorize: no policy is at %v", policyPaths))
		}
		o.policies = nil
		for _, policy := range policies {
			o.policies = append(o.policies, policy)
		}
	}
}

// WithResourcePathIDsMap sets the map of what is registered, so that several
// elements can share it.
func WithResourcePathIDsMap(m *genericsync.Map[string, []string]) Option {
	return func(o *options) { o.pathIDs = m }
}

func apply(opts []Option) options {
	o := options{pathIDs: new(genericsync.Map[string, []string])}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// check asks every policy about the resource of this name.
func (o *options) check(ctx context.Context, name string, path *grpcmetadata.Path) error {
	registered := make(map[string][]string)
	o.pathIDs.Range(func(name string, ids []string) bool {
		registered[name] = ids
		return true
	})
	input := RegistryOpaInput{
		ResourceID:         owner(ctx, path).String(),
		ResourceName:       name,
		ResourcePathIDsMap: registered,
		PathSegments:       path.PathSegments,
		Index:              path.Index,
	}
	for _, policy := range o.policies {
		if err := policy.Check(ctx, input); err != nil {
			return fmt.Errorf("registry: policy %s refuses %s: %w", policy.Name(), name, err)
		}
	}
	return nil
}

// travelled is the part of path up to this process.
func travelled(path *grpcmetadata.Path) *grpcmetadata.Path {
	clone := path.Clone()
	if int(clone.Index) < len(clone.PathSegments) {
		clone.PathSegments = clone.PathSegments[:clone.Index+1]
	}
	return clone
}

// owner reads the SPIFFE ID of the first token. Whether that is signed is for
// the policies to say.
func owner(ctx context.Context, path *grpcmetadata.Path) spiffeid.ID {
	if len(path.PathSegments) == 0 {
		log.FromContext(ctx).Warn("registry authorize: the path is empty")
		return spiffeid.ID{}
	}
	claims := new(jwt.RegisteredClaims)
	if _, _, err := jwt.NewParser().ParseUnverified(path.PathSegments[0].Token, claims); err != nil {
		log.FromContext(ctx).Warnf("registry authorize: parse the first token: %v", err)
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromString(claims.Subject)
	if err != nil {
		log.FromContext(ctx).Warnf("registry authorize: subject of the first token: %v", err)
	}
	return id
}
