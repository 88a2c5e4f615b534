// SPDX-License-Identifier: Apache-2.0

package eventchannel

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// NewMonitorConnectionClient returns a client all of whose streams take events
// from eventCh: each event goes to one of them.
func NewMonitorConnectionClient(eventCh <-chan *networkservice.ConnectionEvent) networkservice.MonitorConnectionClient {
	return client{eventCh}
}

type client struct {
	events <-chan *networkservice.ConnectionEvent
}

func (c client) MonitorConnections(ctx context.Context, _ *networkservice.MonitorScopeSelector, _ ...grpc.CallOption) (networkservice.MonitorConnection_MonitorConnectionsClient, error) {
	return NewMonitorConnectionMonitorConnectionsClient(ctx, c.events), nil
}

// MonitorConnectionServerOption configures NewMonitorServer.
type MonitorConnectionServerOption interface {
	apply(s *server)
}

type option func(*server)

func (o option) apply(s *server) { o(s) }

// WithConnectChannel reports the number of subscribers to connectCh after each
// that comes or goes.
func WithConnectChannel(connectCh chan<- int) MonitorConnectionServerOption {
	return option(func(s *server) { s.connected = connectCh })
}

// NewMonitorServer returns a server that sends each event of eventCh to all who
// are subscribed then. Its streams end when eventCh is closed.
func NewMonitorServer(eventCh <-chan *networkservice.ConnectionEvent, options ...MonitorConnectionServerOption) networkservice.MonitorConnectionServer {
	s := &server{
		subscribers: make(map[networkservice.MonitorConnection_MonitorConnectionsServer]struct{}),
		closed:      make(chan struct{}),
	}
	for _, o := range options {
		o.apply(s)
	}
	go s.distribute(eventCh)
	return s
}

type server struct {
	mu          sync.Mutex
	subscribers map[networkservice.MonitorConnection_MonitorConnectionsServer]struct{}
	connected   chan<- int
	closed      chan struct{}
}

func (s *server) distribute(events <-chan *networkservice.ConnectionEvent) {
	defer close(s.closed)
	for event := range events {
		s.mu.Lock()
		for subscriber := range s.subscribers {
			// One that does not take it is about to leave by its own context.
			_ = subscriber.Send(event)
		}
		s.mu.Unlock()
	}
}

func (s *server) MonitorConnections(_ *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	s.update(func() { s.subscribers[stream] = struct{}{} })
	defer s.update(func() { delete(s.subscribers, stream) })
	select {
	case <-stream.Context().Done():
	case <-s.closed:
	}
	return nil
}

func (s *server) update(change func()) {
	s.mu.Lock()
	change()
	count := len(s.subscribers)
	s.mu.Unlock()
	if s.connected != nil {
		s.connected <- count
	}
}
