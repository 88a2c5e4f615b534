// SPDX-License-Identifier: Apache-2.0

// Package streamcontext gives streams of connection events another context.
package streamcontext

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// MonitorConnectionMonitorConnectionsServer returns server with the context ctx.
func MonitorConnectionMonitorConnectionsServer(ctx context.Context, server networkservice.MonitorConnection_MonitorConnectionsServer) networkservice.MonitorConnection_MonitorConnectionsServer {
	return &serverStream{server, ctx}
}

type serverStream struct {
	networkservice.MonitorConnection_MonitorConnectionsServer
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

// MonitorConnectionMonitorConnectionsClient returns client with the context ctx.
func MonitorConnectionMonitorConnectionsClient(ctx context.Context, client networkservice.MonitorConnection_MonitorConnectionsClient) networkservice.MonitorConnection_MonitorConnectionsClient {
	return &clientStream{client, ctx}
}

type clientStream struct {
	networkservice.MonitorConnection_MonitorConnectionsClient
	ctx context.Context
}

func (s *clientStream) Context() context.Context { return s.ctx }
