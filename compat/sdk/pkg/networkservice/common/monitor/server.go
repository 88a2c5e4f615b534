// SPDX-License-Identifier: Apache-2.0

// Package monitor tells subscribers how the connections of a hop fare: UPDATE
// after each successful Request, DELETE after Close, UPDATE in state DOWN when
// a Request for a known connection fails. A hop with a client half watches the
// next hop, and hands on what it hears; when the connection is deleted there, or
// that hop is lost, the state is DOWN.
package monitor

import (
	"context"
	"sync"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

// EventConsumer takes events that elements of the chain make themselves.
type EventConsumer interface {
	Send(event *networkservice.ConnectionEvent) (err error)
}

type (
	consumerKey struct{}
	relayKey    struct{}
)

// LoadEventConsumer returns the consumer that a monitor ahead in the chain has
// left in the metadata, if there is one.
func LoadEventConsumer(ctx context.Context, isClient bool) (value EventConsumer, ok bool) {
	stored, _ := metadata.Map(ctx, isClient).Load(consumerKey{})
	value, ok = stored.(EventConsumer)
	return value, ok
}

type monitorServer struct{ hub *hub }

// NewServer returns the element and sets *monitorServerPtr to the server for
// subscribers. Streams end when chainCtx does. It needs metadata ahead in the
// chain.
func NewServer(chainCtx context.Context, monitorServerPtr *networkservice.MonitorConnectionServer) networkservice.NetworkServiceServer {
	h := newHub(chainCtx)
	*monitorServerPtr = h
	return &monitorServer{hub: h}
}

func (m *monitorServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	id := request.GetConnection().GetId()
	own := metadata.Map(ctx, metadata.IsClient(m))
	own.Store(consumerKey{}, EventConsumer(m.hub))
	old := loadRelay(own)
	if old != nil {
		old.pause()
	}
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		if old != nil {
			old.resume(nil)
		}
		m.hub.down(id)
		return nil, err
	}
	m.hub.send(update(conn.Clone()))

	cc, passing := clientconn.Load(ctx)
	switch {
	case old != nil && old.resume(cc):
	case passing && conn.GetCurrentPathSegment() != nil:
		if old != nil {
			old.stop()
		}
		own.Store(relayKey{}, startRelay(m.hub, cc, conn))
	}
	return conn, nil
}

func (m *monitorServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if relay := loadRelay(metadata.Map(ctx, metadata.IsClient(m))); relay != nil {
		relay.stop()
	}
	last := conn.Clone()
	reply, err := next.Server(ctx).Close(ctx, conn)
	m.hub.send(&networkservice.ConnectionEvent{
		Type:        networkservice.ConnectionEventType_DELETE,
		Connections: map[string]*networkservice.Connection{last.GetId(): last},
	})
	return reply, err
}

func loadRelay(own *sync.Map) *relay {
	value, _ := own.Load(relayKey{})
	r, _ := value.(*relay)
	return r
}
