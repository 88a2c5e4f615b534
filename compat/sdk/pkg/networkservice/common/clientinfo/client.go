// SPDX-License-Identifier: Apache-2.0

// Package clientinfo adds labels that say where the client runs.
package clientinfo

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/clientinfo"
)

type clientInfo struct{}

// NewClient returns the element that adds the labels nodeName, podName and
// clusterName from the environment, unless they are there.
func NewClient() networkservice.NetworkServiceClient { return clientInfo{} }

func (clientInfo) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	if conn == nil {
		conn = new(networkservice.Connection)
		request.Connection = conn
	}
	if conn.Labels == nil {
		conn.Labels = make(map[string]string)
	}
	clientinfo.AddClientInfo(ctx, conn.Labels)
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (clientInfo) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
