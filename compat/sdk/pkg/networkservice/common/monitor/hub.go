// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// backlog is how many events a subscriber may lag behind before it is dropped.
const backlog = 4096

// hub knows all connections of one hop and tells subscribers how they change.
type hub struct {
	ctx context.Context

	mu          sync.Mutex
	connections map[string]*networkservice.Connection
	subscribers map[*subscriber]struct{}
}

// subscriber is a stream under way. Its pending events are guarded by the lock
// of the hub and shared with other subscribers: nobody changes them.
type subscriber struct {
	selector *networkservice.MonitorScopeSelector
	pending  []*networkservice.ConnectionEvent
	overrun  bool
	wake     chan struct{}
}

func newHub(ctx context.Context) *hub {
	return &hub{
		ctx:         ctx,
		connections: make(map[string]*networkservice.Connection),
		subscribers: make(map[*subscriber]struct{}),
	}
}

// MonitorConnections sends what there is, and then changes, until the caller
// leaves or the chain ends.
func (h *hub) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	s := &subscriber{selector: selector, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	known := make(map[string]*networkservice.Connection, len(h.connections))
	for id, conn := range h.connections {
		if conn.MatchesMonitorScopeSelector(selector) {
			known[id] = conn
		}
	}
	h.subscribers[s] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.subscribers, s)
		h.mu.Unlock()
	}()

	err := stream.Send(&networkservice.ConnectionEvent{
		Type:        networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER,
		Connections: known,
	})
	for err == nil {
		select {
		case <-stream.Context().Done():
			return nil
		case <-h.ctx.Done():
			return nil
		case <-s.wake:
			err = h.drain(s, stream)
		}
	}
	return err
}

func (h *hub) drain(s *subscriber, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	h.mu.Lock()
	pending, overrun := s.pending, s.overrun
	s.pending = nil
	h.mu.Unlock()
	if overrun {
		return status.Errorf(codes.ResourceExhausted, "monitor: the subscriber lags behind by %d events", backlog)
	}
	for _, event := range pending {
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	return nil
}

// Send takes event into account and queues it for those whom it concerns. It
// does not wait for them.
func (h *hub) Send(event *networkservice.ConnectionEvent) error {
	h.send(event.Clone())
	return nil
}

// send is Send of an event that nobody will change.
func (h *hub) send(event *networkservice.ConnectionEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if event.GetType() == networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER {
		event.Type = networkservice.ConnectionEventType_UPDATE
	}
	for id, conn := range event.GetConnections() {
		if event.GetType() == networkservice.ConnectionEventType_DELETE {
			delete(h.connections, id)
		} else {
			h.connections[id] = conn
		}
	}
	for s := range h.subscribers {
		h.queue(s, event)
	}
}

func (h *hub) queue(s *subscriber, event *networkservice.ConnectionEvent) {
	matching := networkservice.FilterMapOnManagerScopeSelector(event.GetConnections(), s.selector)
	if len(matching) == 0 {
		return
	}
	if len(matching) != len(event.GetConnections()) {
		event = &networkservice.ConnectionEvent{Type: event.GetType(), Connections: matching}
	}
	if len(s.pending) >= backlog {
		s.overrun = true
	} else {
		s.pending = append(s.pending, event)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (h *hub) load(id string) (*networkservice.Connection, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	conn, ok := h.connections[id]
	return conn, ok
}

// down tells that the connection id no longer works.
func (h *hub) down(id string) {
	conn, ok := h.load(id)
	if !ok {
		return
	}
	conn = conn.Clone()
	conn.State = networkservice.State_DOWN
	h.send(update(conn))
}

func update(conn *networkservice.Connection) *networkservice.ConnectionEvent {
	return &networkservice.ConnectionEvent{
		Type:        networkservice.ConnectionEventType_UPDATE,
		Connections: map[string]*networkservice.Connection{conn.GetId(): conn},
	}
}
