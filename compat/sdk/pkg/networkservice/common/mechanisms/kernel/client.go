// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type client struct{ options }

// NewClient returns a client that completes the KERNEL preferences of a
// request, and adds one if there is none.
func NewClient(opts ...Option) networkservice.NetworkServiceClient {
	return &client{apply(opts)}
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	service := request.GetConnection().GetNetworkService()
	found := false
	for _, preference := range request.GetMechanismPreferences() {
		if mechanism := kernelmech.ToMechanism(preference); mechanism != nil {
			found = true
			if err := c.fill(mechanism, service); err != nil {
				return nil, err
			}
		}
	}
	if !found {
		preference := kernelmech.New(ownNetNS)
		if err := c.fill(kernelmech.ToMechanism(preference), service); err != nil {
			return nil, err
		}
		request.MechanismPreferences = append(request.GetMechanismPreferences(), preference)
	}
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
