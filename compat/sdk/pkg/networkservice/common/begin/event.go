// SPDX-License-Identifier: Apache-2.0

package begin

import (
	"context"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// ReselectFunc changes a request so that another endpoint can be selected for
// it.
type ReselectFunc func(request *networkservice.NetworkServiceRequest)

// DefaultReselectFunc lets any endpoint of the network service be selected.
var DefaultReselectFunc ReselectFunc = func(request *networkservice.NetworkServiceRequest) {
	if request.GetConnection() != nil {
		request.Connection.NetworkServiceEndpointName = ""
		ReselectWithSameEndpointFunc(request)
	}
}

// ReselectWithSameEndpointFunc keeps the endpoint: only the path to it and the
// mechanism are selected again.
var ReselectWithSameEndpointFunc ReselectFunc = func(request *networkservice.NetworkServiceRequest) {
	if request.GetConnection() != nil {
		request.Connection.Mechanism = nil
		request.Connection.State = networkservice.State_RESELECT_REQUESTED
	}
}

// EventFactory lets an element cause calls for its connection. They start at
// begin, with what the last successful Request ended with, once all calls that
// came before have ended. The channel gets the error if there is one and is
// then closed; for a connection that is closed by then nothing is done.
type EventFactory interface {
	Request(opts ...Option) <-chan error
	Close(opts ...Option) <-chan error
}

type factoryKey struct{}

func withEventFactory(ctx context.Context, factory EventFactory) context.Context {
	return context.WithValue(ctx, factoryKey{}, factory)
}

// FromContext returns the EventFactory of the connection that ctx serves, or nil
// if there is no begin ahead in the chain.
func FromContext(ctx context.Context) EventFactory {
	factory, _ := ctx.Value(factoryKey{}).(EventFactory)
	return factory
}

// Request repeats the last Request.
func (c *connection) Request(opts ...Option) <-chan error {
	return c.event(opts, func(ctx context.Context, o *option) error {
		request := c.request.Clone()
		if o.reselect {
			if err := c.rest.close(ctx, request.GetConnection().Clone()); err != nil {
				log.FromContext(ctx).Warnf("begin: close %s before another endpoint is selected: %v", c.id, err)
			}
			reselect := c.reselect
			if reselect == nil {
				reselect = DefaultReselectFunc
			}
			reselect(request)
			c.request = request.Clone()
		}
		_, err := c.run(ctx, request)
		return err
	})
}

// Close closes the connection.
func (c *connection) Close(opts ...Option) <-chan error {
	return c.event(opts, func(ctx context.Context, _ *option) error { return c.callClose(ctx) })
}

func (c *connection) event(opts []Option, run func(context.Context, *option) error) <-chan error {
	o := &option{cancelCtx: context.Background()}
	for _, opt := range opts {
		opt(o)
	}
	errCh := make(chan error, 1)
	go func() {
		defer close(errCh)
		select {
		case c.turn <- struct{}{}:
		case <-o.cancelCtx.Done():
			return
		}
		defer c.leave()
		if o.cancelCtx.Err() != nil || c.gone || !c.established() {
			return
		}
		ctx, cancel := c.renew()
		defer cancel()
		if err := run(ctx, o); err != nil {
			errCh <- err
		}
	}()
	return errCh
}
