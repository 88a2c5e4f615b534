// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/eventchannel"
)

// Combine returns one endpoint of several: combineFun says how calls go to
// them, and subscribers get the events of all.
func Combine(combineFun func(servers []networkservice.NetworkServiceServer) networkservice.NetworkServiceServer, eps ...Endpoint) Endpoint {
	servers := make([]networkservice.NetworkServiceServer, len(eps))
	monitors := make(combinedMonitor, len(eps))
	for i, ep := range eps {
		servers[i], monitors[i] = ep, ep
	}
	return &endpoint{NetworkServiceServer: combineFun(servers), MonitorConnectionServer: monitors}
}

type combinedMonitor []networkservice.MonitorConnectionServer

// MonitorConnections sends one initial state, made of those of all servers, and
// then the changes of each. It ends with the first of them that does.
func (c combinedMonitor) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	initial := &networkservice.ConnectionEvent{
		Type:        networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER,
		Connections: make(map[string]*networkservice.Connection),
	}
	ended := make(chan error, len(c))
	changes := make(chan *networkservice.ConnectionEvent)
	for _, server := range c {
		events := make(chan *networkservice.ConnectionEvent)
		running.Add(1)
		go func() {
			defer running.Done()
			ended <- server.MonitorConnections(selector, eventchannel.NewMonitorConnectionMonitorConnectionsServer(ctx, events))
		}()
		select {
		case event := <-events:
			for id, conn := range event.GetConnections() {
				initial.Connections[id] = conn
			}
		case err := <-ended:
			return err
		}
		running.Add(1)
		go func() {
			defer running.Done()
			forward(ctx, events, changes)
		}()
	}
	if err := stream.Send(initial); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case event := <-changes:
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
}

func forward(ctx context.Context, from <-chan *networkservice.ConnectionEvent, to chan<- *networkservice.ConnectionEvent) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-from:
			select {
			case <-ctx.Done():
				return
			case to <- event:
			}
		}
	}
}
