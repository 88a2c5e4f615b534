// SPDX-License-Identifier: Apache-2.0

// Package nexthop watches what the next hop says about one connection.
package nexthop

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// Watch is a stream of events about one connection.
type Watch struct {
	stream networkservice.MonitorConnection_MonitorConnectionsClient
	own    string // id of our segment
}

// Event is a change of the connection at the next hop.
type Event struct {
	Type networkservice.ConnectionEventType
	// Connection is as the next hop has it: its id and index are theirs.
	Connection *networkservice.Connection
}

// Open subscribes, over cc, to the connection of which own is our segment. The
// stream ends with ctx.
func Open(ctx context.Context, cc grpc.ClientConnInterface, own *networkservice.PathSegment) (*Watch, error) {
	stream, err := networkservice.NewMonitorConnectionClient(cc).MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Id: own.GetId(), Name: own.GetName()}},
	})
	if err != nil {
		return nil, fmt.Errorf("watch next hop: %w", err)
	}
	return &Watch{stream: stream, own: own.GetId()}, nil
}

// ErrForgotten is what Next fails with if the next hop does not know the
// connection: it has been started again since it answered.
var ErrForgotten = errors.New("the next hop does not know the connection")

// Next waits for events about the connection.
func (w *Watch) Next() ([]Event, error) {
	message, err := w.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("watch next hop: %w", err)
	}
	var events []Event
	for _, conn := range message.GetConnections() {
		if w.passes(conn) {
			events = append(events, Event{Type: message.GetType(), Connection: conn})
		}
	}
	if len(events) == 0 && message.GetType() == networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER {
		return nil, fmt.Errorf("watch next hop: %w", ErrForgotten)
	}
	return events, nil
}

// passes says whether conn is the one right behind our segment.
func (w *Watch) passes(conn *networkservice.Connection) bool {
	for _, segment := range conn.GetPath().GetPathSegments() {
		if segment.GetId() == w.own {
			return conn.GetId() != w.own
		}
	}
	return false
}

// Refused says whether err means that the next hop does not let us watch, or
// has nothing to watch, rather than that it is lost.
func Refused(err error) bool {
	switch status.Code(err) {
	case codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated:
		return true
	default:
		return false
	}
}
