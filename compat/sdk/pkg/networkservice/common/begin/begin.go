// SPDX-License-Identifier: Apache-2.0

// Package begin is where the life of a connection at a hop is kept in order.
//
// Calls for one connection id run one at a time, in the order in which they
// came; different connections do not wait for each other. What the last
// successful Request ended with is remembered: Close closes that, whatever its
// caller passes, and elements further on may cause a Request or a Close of it
// by themselves, through the EventFactory in their context. Close of a
// connection that is not established succeeds and does nothing. A Request that
// fails leaves an established connection established.
package begin

import (
	"context"
	"fmt"
	"sync"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
)

// rest is the chain behind begin, be it of clients or of servers.
type rest interface {
	request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error)
	close(ctx context.Context, conn *networkservice.Connection) error
}

// table holds the connections of one begin element.
type table struct{ connections sync.Map }

// connection is one connection's state. All fields but id and table belong to
// whoever holds turn.
type connection struct {
	id    string
	table *table
	turn  chan struct{}

	gone     bool // no longer in the table: look again
	request  *networkservice.NetworkServiceRequest
	returned *networkservice.Connection // as the caller got it last
	rest     rest
	renew    func() (context.Context, context.CancelFunc)
	reselect ReselectFunc
}

// enter returns the connection with the caller's turn taken, or an error when
// ctx ends first. Unless it is to be made, it is nil when there is none.
func (t *table) enter(ctx context.Context, id string, make bool) (*connection, error) {
	for {
		value, ok := t.connections.Load(id)
		if !ok {
			if !make {
				return nil, nil
			}
			value, _ = t.connections.LoadOrStore(id, newConnection(t, id))
		}
		c := value.(*connection)
		select {
		case c.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("begin: wait for an earlier call for connection %s: %w", id, ctx.Err())
		}
		if !c.gone {
			return c, nil
		}
		c.leave()
	}
}

func newConnection(t *table, id string) *connection {
	return &connection{id: id, table: t, turn: make(chan struct{}, 1)}
}

func (c *connection) leave() { <-c.turn }

func (c *connection) forget() {
	c.gone = true
	c.table.connections.CompareAndDelete(c.id, c)
}

func (c *connection) established() bool { return c.request != nil }

// callRequest serves a Request from outside.
func (c *connection) callRequest(ctx context.Context, request *networkservice.NetworkServiceRequest, behind rest) (*networkservice.Connection, error) {
	ctx = withEventFactory(ctx, c)
	c.rest, c.renew = behind, postpone.ContextWithValues(ctx)
	if c.established() && request.GetConnection().GetState() == networkservice.State_RESELECT_REQUESTED {
		if err := c.rest.close(ctx, c.request.GetConnection().Clone()); err != nil {
			log.FromContext(ctx).Warnf("begin: close %s before another endpoint is selected: %v", c.id, err)
		}
		c.request, c.returned = nil, nil
	}
	conn, err := c.run(ctx, request)
	if err != nil {
		if !c.established() {
			c.forget()
		}
		return nil, err
	}
	c.returned = c.request.GetConnection()
	return conn, nil
}

// run passes request on and remembers how it ended, if it ended well.
func (c *connection) run(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	// Elements add their preferences to the request that they get; what is
	// remembered is the request as it came.
	preferences := make([]*networkservice.Mechanism, len(request.GetMechanismPreferences()))
	for i, preference := range request.GetMechanismPreferences() {
		preferences[i] = preference.Clone()
	}
	conn, err := c.rest.request(ctx, request)
	if err != nil {
		return nil, err
	}
	conn.State = networkservice.State_UP
	c.request = &networkservice.NetworkServiceRequest{
		Connection:           conn.Clone(),
		MechanismPreferences: preferences,
	}
	return conn, nil
}

// callClose closes the connection for good.
func (c *connection) callClose(ctx context.Context) error {
	defer c.forget()
	return c.rest.close(withEventFactory(ctx, c), c.request.GetConnection().Clone())
}
