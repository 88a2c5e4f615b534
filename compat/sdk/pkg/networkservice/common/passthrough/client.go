// SPDX-License-Identifier: Apache-2.0

// Package passthrough lets an endpoint be a client of the same network service:
// its client half asks under labels of its own, and for any endpoint.
package passthrough

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type passThrough struct{ labels map[string]string }

// NewClient returns the element that shows the next hop labels in place of the
// caller's, and an endpoint name that is selected for this half alone; the
// caller sees its own again in the reply. It needs metadata ahead in the chain.
func NewClient(labels map[string]string) networkservice.NetworkServiceClient {
	return &passThrough{labels: labels}
}

type endpointKey struct{}

// swap makes conn what the next hop is to see and returns how to undo that.
func (p *passThrough) swap(ctx context.Context, conn *networkservice.Connection) (back func(*networkservice.Connection)) {
	labels, endpoint := conn.GetLabels(), conn.GetNetworkServiceEndpointName()
	conn.Labels = make(map[string]string, len(p.labels))
	for key, value := range p.labels {
		conn.Labels[key] = value
	}
	selected, _ := metadata.Map(ctx, true).Load(endpointKey{})
	conn.NetworkServiceEndpointName, _ = selected.(string)
	return func(reply *networkservice.Connection) {
		reply.Labels, reply.NetworkServiceEndpointName = labels, endpoint
	}
}

func (p *passThrough) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	back := p.swap(ctx, request.GetConnection())
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		back(request.GetConnection())
		return nil, err
	}
	metadata.Map(ctx, true).Store(endpointKey{}, conn.GetNetworkServiceEndpointName())
	back(conn)
	return conn, nil
}

func (p *passThrough) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	defer p.swap(ctx, conn)(conn)
	return next.Client(ctx).Close(ctx, conn, opts...)
}
