// SPDX-License-Identifier: Apache-2.0

// Package chain is package next with each element traced.
package chain

import (
	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/trace"
)

// NewNetworkServiceClient returns the traced chain of clients.
func NewNetworkServiceClient(clients ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	return next.NewWrappedNetworkServiceClient(trace.NewNetworkServiceClient, clients...)
}

// NewNetworkServiceServer returns the traced chain of servers.
func NewNetworkServiceServer(servers ...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	return next.NewWrappedNetworkServiceServer(trace.NewNetworkServiceServer, servers...)
}
