// SPDX-License-Identifier: Apache-2.0

// Package policyroute tells clients which traffic to route by policy.
package policyroute

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// PolicyRoutesFunc returns the policies that hold now.
type PolicyRoutesFunc func() []*networkservice.PolicyRoute

type policyRouteServer struct{ policies PolicyRoutesFunc }

// NewServer returns the element that makes the policies of the IP context those
// that policyRouteGetter returns.
func NewServer(policyRouteGetter PolicyRoutesFunc) networkservice.NetworkServiceServer {
	return &policyRouteServer{policies: policyRouteGetter}
}

func (p *policyRouteServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn.GetContext() == nil {
		conn.Context = new(networkservice.ConnectionContext)
	}
	if conn.GetContext().GetIpContext() == nil {
		conn.Context.IpContext = new(networkservice.IPContext)
	}
	conn.Context.IpContext.Policies = p.policies()
	return next.Server(ctx).Request(ctx, request)
}

func (p *policyRouteServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}
