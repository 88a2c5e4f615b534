// SPDX-License-Identifier: Apache-2.0

// Package mechanismpriority orders the mechanisms that a request offers.
package mechanismpriority

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type client struct {
	rank map[string]int // by type; those without come last
}

// NewClient returns a client that moves preferences of these types to the
// front, in this order; the others stay in theirs. Case does not matter.
func NewClient(priorities ...string) networkservice.NetworkServiceClient {
	c := &client{rank: make(map[string]int)}
	for i, mechanismType := range priorities {
		c.rank[strings.ToUpper(mechanismType)] = i - len(priorities)
	}
	return c
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	slices.SortStableFunc(request.GetMechanismPreferences(), func(a, b *networkservice.Mechanism) int {
		return c.rank[a.GetType()] - c.rank[b.GetType()]
	})
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
