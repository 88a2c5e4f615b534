// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// NetworkServiceCandidates are the endpoints that may serve a request.
type NetworkServiceCandidates struct {
	NetworkService *registry.NetworkService
	Endpoints      []*registry.NetworkServiceEndpoint
}

type candidatesKey struct{}

// WithCandidates returns parent with candidates in it.
func WithCandidates(parent context.Context, candidates []*registry.NetworkServiceEndpoint, service *registry.NetworkService) context.Context {
	return context.WithValue(parent, candidatesKey{}, &NetworkServiceCandidates{NetworkService: service, Endpoints: candidates})
}

// Candidates returns those in ctx, or nil.
func Candidates(ctx context.Context) *NetworkServiceCandidates {
	candidates, _ := ctx.Value(candidatesKey{}).(*NetworkServiceCandidates)
	return candidates
}
