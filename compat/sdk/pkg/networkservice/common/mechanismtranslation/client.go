// SPDX-License-Identifier: Apache-2.0

// Package mechanismtranslation lets the two sides of a hop have different
// mechanisms.
package mechanismtranslation

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type client struct{}

type mechanismKey struct{}

// NewClient returns a client after which the connection has the mechanism that
// was agreed on with the next hop (none at first), and no preferences of the
// caller. The caller gets its own mechanism back. It needs a metadata client
// before it.
func NewClient() networkservice.NetworkServiceClient {
	return client{}
}

func (client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	store := metadata.Map(ctx, true)
	onward := request.Clone()
	onward.MechanismPreferences = nil
	onward.GetRequestConnection().Mechanism = nil
	if agreed, ok := store.Load(mechanismKey{}); ok {
		onward.Connection.Mechanism = agreed.(*networkservice.Mechanism).Clone()
	}
	conn, err := next.Client(ctx).Request(ctx, onward, opts...)
	if err != nil {
		return nil, err
	}
	store.Store(mechanismKey{}, conn.GetMechanism().Clone())
	conn = conn.Clone()
	conn.Mechanism = request.GetConnection().GetMechanism()
	return conn, nil
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	conn = conn.Clone()
	conn.Mechanism = nil
	if agreed, ok := metadata.Map(ctx, true).LoadAndDelete(mechanismKey{}); ok {
		conn.Mechanism = agreed.(*networkservice.Mechanism)
	}
	return next.Client(ctx).Close(ctx, conn, opts...)
}
