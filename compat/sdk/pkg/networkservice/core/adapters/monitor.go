// SPDX-License-Identifier: Apache-2.0

package adapters

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/eventchannel"
)

// eventBuffer is how far a server may run ahead of the client that reads it.
const eventBuffer = 100

// NewMonitorServerToClient returns a client of server in the same process.
func NewMonitorServerToClient(server networkservice.MonitorConnectionServer) networkservice.MonitorConnectionClient {
	return monitorServerToClient{server}
}

type monitorServerToClient struct {
	server networkservice.MonitorConnectionServer
}

func (m monitorServerToClient) MonitorConnections(ctx context.Context, selector *networkservice.MonitorScopeSelector, _ ...grpc.CallOption) (networkservice.MonitorConnection_MonitorConnectionsClient, error) {
	events := make(chan *networkservice.ConnectionEvent, eventBuffer)
	go func() {
		defer close(events)
		_ = m.server.MonitorConnections(selector, eventchannel.NewMonitorConnectionMonitorConnectionsServer(ctx, events))
	}()
	return eventchannel.NewMonitorConnectionMonitorConnectionsClient(ctx, events), nil
}

// NewMonitorClientToServer returns a server that hands on what client gets.
func NewMonitorClientToServer(client networkservice.MonitorConnectionClient) networkservice.MonitorConnectionServer {
	return monitorClientToServer{client}
}

type monitorClientToServer struct {
	client networkservice.MonitorConnectionClient
}

func (m monitorClientToServer) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	upstream, err := m.client.MonitorConnections(ctx, selector)
	if err != nil {
		return fmt.Errorf("monitor connections: %w", err)
	}
	for {
		event, err := upstream.Recv()
		if err != nil {
			if stream.Context().Err() != nil {
				return nil
			}
			return fmt.Errorf("monitor connections: %w", err)
		}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
}
