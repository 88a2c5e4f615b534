// SPDX-License-Identifier: Apache-2.0

// Package next joins servers of connection events into chains.
package next

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/streamcontext"
)

// MonitorConnectionsServerWrapper adds something around one server.
type MonitorConnectionsServerWrapper func(networkservice.MonitorConnectionServer) networkservice.MonitorConnectionServer

// MonitorConnectionsServerChainer makes one server of several.
type MonitorConnectionsServerChainer func(...networkservice.MonitorConnectionServer) networkservice.MonitorConnectionServer

// NewWrappedMonitorConnectionServer is NewMonitorConnectionServer with each
// server wrapped.
func NewWrappedMonitorConnectionServer(wrapper MonitorConnectionsServerWrapper, servers ...networkservice.MonitorConnectionServer) networkservice.MonitorConnectionServer {
	wrapped := make([]networkservice.MonitorConnectionServer, len(servers))
	for i, server := range servers {
		wrapped[i] = wrapper(server)
	}
	return chain(wrapped)
}

// NewMonitorConnectionServer returns the chain of servers.
func NewMonitorConnectionServer(servers ...networkservice.MonitorConnectionServer) networkservice.MonitorConnectionServer {
	return chain(append([]networkservice.MonitorConnectionServer(nil), servers...))
}

// chain is a chain that has not been entered.
type chain []networkservice.MonitorConnectionServer

func (c chain) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	return rest{c, MonitorConnectionServer(stream.Context())}.MonitorConnections(selector, stream)
}

// rest is what is left of an entered chain, and then the chain around it.
type rest struct {
	servers []networkservice.MonitorConnectionServer
	outer   networkservice.MonitorConnectionServer
}

func (r rest) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	if len(r.servers) == 0 {
		return r.outer.MonitorConnections(selector, stream)
	}
	behind := rest{r.servers[1:], r.outer}
	ctx := context.WithValue(stream.Context(), contextKey{}, networkservice.MonitorConnectionServer(behind))
	return r.servers[0].MonitorConnections(selector, streamcontext.MonitorConnectionMonitorConnectionsServer(ctx, stream))
}

type contextKey struct{}

// MonitorConnectionServer returns the server behind the one that got ctx, never
// nil: behind the last one is a server that waits for the caller to leave.
func MonitorConnectionServer(ctx context.Context) networkservice.MonitorConnectionServer {
	if server, ok := ctx.Value(contextKey{}).(networkservice.MonitorConnectionServer); ok {
		return server
	}
	return tail{}
}

type tail struct{}

func (tail) MonitorConnections(_ *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	<-stream.Context().Done()
	return nil
}
