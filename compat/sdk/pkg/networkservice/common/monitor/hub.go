// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"maps"
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
	// passing are the ids of connections by the ids of the segments of their
	// paths, subscribers are filed under the segment that they select by.
	passing     index[string]
	subscribers index[*subscriber]
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
		passing:     make(index[string]),
		subscribers: make(index[*subscriber]),
	}
}

// MonitorConnections sends what there is, and then changes, until the caller
// leaves or the chain ends.
func (h *hub) MonitorConnections(selector *networkservice.MonitorScopeSelector, stream networkservice.MonitorConnection_MonitorConnectionsServer) error {
	s := &subscriber{selector: selector, wake: make(chan struct{}, 1)}
	segment := selectedSegment(selector)
	h.mu.Lock()
	known := h.known(selector, segment)
	h.subscribers.add(segment, s)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.subscribers.remove(segment, s)
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
	concerned := make(map[*subscriber]struct{})
	maps.Copy(concerned, h.subscribers[anySegment])
	for id, conn := range event.GetConnections() {
		h.file(id, conn, event.GetType() != networkservice.ConnectionEventType_DELETE)
		for _, segment := range conn.GetPath().GetPathSegments() {
			maps.Copy(concerned, h.subscribers[segment.GetId()])
		}
	}
	for s := range concerned {
		h.queue(s, event)
	}
}

// known are the connections that the selector, filed under segment, selects.
func (h *hub) known(selector *networkservice.MonitorScopeSelector, segment string) map[string]*networkservice.Connection {
	if segment == anySegment {
		return networkservice.FilterMapOnManagerScopeSelector(h.connections, selector)
	}
	passing := make(map[string]*networkservice.Connection)
	for id := range h.passing[segment] {
		passing[id] = h.connections[id]
	}
	return networkservice.FilterMapOnManagerScopeSelector(passing, selector)
}

// file puts a connection in the place of what the hub knew of it, or takes that
// away.
func (h *hub) file(id string, conn *networkservice.Connection, exists bool) {
	for _, segment := range h.connections[id].GetPath().GetPathSegments() {
		h.passing.remove(segment.GetId(), id)
	}
	delete(h.connections, id)
	if !exists {
		return
	}
	h.connections[id] = conn
	for _, segment := range conn.GetPath().GetPathSegments() {
		h.passing.add(segment.GetId(), id)
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
