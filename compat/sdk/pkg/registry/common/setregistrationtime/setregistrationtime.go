// SPDX-License-Identifier: Apache-2.0

// Package setregistrationtime keeps the time of an endpoint's first
// registration through its refreshes. It needs a metadata server before it.
package setregistrationtime

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
)

type server struct{ either.PassNSEServer }

type timeKey struct{}

// NewNetworkServiceEndpointRegistryServer returns the element.
func NewNetworkServiceEndpointRegistryServer() registry.NetworkServiceEndpointRegistryServer {
	return new(server)
}

func (s *server) Register(ctx context.Context, nse *registry.NetworkServiceEndpoint) (*registry.NetworkServiceEndpoint, error) {
	first, _ := metadata.Map(ctx, false).LoadOrStore(timeKey{}, timestamppb.New(clock.FromContext(ctx).Now()))
	nse = nse.Clone()
	nse.InitialRegistrationTime, _ = first.(*timestamppb.Timestamp)
	return next.NetworkServiceEndpointRegistryServer(ctx).Register(ctx, nse)
}
