// SPDX-License-Identifier: Apache-2.0

package mechanisms

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

type client struct {
	byType map[string]networkservice.NetworkServiceClient
}

// NewClient returns a client that hands a request to the element for its
// mechanism, by type: the one that the connection has, else each of the
// preferences in order until one succeeds.
func NewClient(mechanisms map[string]networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	c := &client{byType: make(map[string]networkservice.NetworkServiceClient, len(mechanisms))}
	for mechanismType, element := range mechanisms {
		c.byType[mechanismType] = chain.NewNetworkServiceClient(element)
	}
	return c
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	if mechanism := request.GetConnection().GetMechanism(); mechanism != nil {
		element, ok := c.byType[mechanism.GetType()]
		if !ok {
			return nil, unsupported(mechanism, c.byType)
		}
		noteInterface(request.GetConnection(), mechanism, clientInterface)
		return element.Request(ctx, request, opts...)
	}

	var tried attempts
	for _, mechanism := range request.GetMechanismPreferences() {
		element, ok := c.byType[mechanism.GetType()]
		if !ok {
			continue
		}
		attempt := request.Clone()
		noteInterface(attempt.GetConnection(), mechanism, clientInterface)
		conn, err := element.Request(ctx, attempt, opts...)
		if err == nil {
			return conn, nil
		}
		tried.failed(mechanism, err)
	}
	return nil, tried.err(request, list(c.byType))
}

// Close goes on with the rest of the chain even for a mechanism that is not
// known, so that what there is can be cleaned up; then that is an error.
func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	if element, ok := c.byType[conn.GetMechanism().GetType()]; ok {
		return element.Close(ctx, conn, opts...)
	}
	out, err := next.Client(ctx).Close(ctx, conn, opts...)
	if conn.GetMechanism() != nil {
		err = errors.Join(unsupported(conn.GetMechanism(), c.byType), err)
	}
	return out, err
}
