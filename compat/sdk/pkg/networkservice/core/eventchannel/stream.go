// SPDX-License-Identifier: Apache-2.0

// Package eventchannel lets a Go channel stand for a stream of connection
// events.
package eventchannel

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// NewMonitorConnectionMonitorConnectionsClient returns the receiving end of a
// stream whose events come from eventCh. Recv returns io.EOF when the channel
// is closed, and the context's error when ctx ends.
func NewMonitorConnectionMonitorConnectionsClient(ctx context.Context, eventCh <-chan *networkservice.ConnectionEvent) networkservice.MonitorConnection_MonitorConnectionsClient {
	return &receiver{ctx: ctx, events: eventCh}
}

type receiver struct {
	grpc.ClientStream
	ctx    context.Context
	events <-chan *networkservice.ConnectionEvent
}

func (r *receiver) Recv() (*networkservice.ConnectionEvent, error) {
	select {
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	case event, ok := <-r.events:
		if !ok {
			return nil, io.EOF
		}
		return event, nil
	}
}

func (r *receiver) Context() context.Context     { return r.ctx }
func (r *receiver) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (r *receiver) Trailer() metadata.MD         { return metadata.MD{} }
func (r *receiver) CloseSend() error             { return nil }

// NewMonitorConnectionMonitorConnectionsServer returns the sending end of a
// stream whose events go to eventCh. Send waits for room there until ctx ends.
func NewMonitorConnectionMonitorConnectionsServer(ctx context.Context, eventCh chan<- *networkservice.ConnectionEvent) networkservice.MonitorConnection_MonitorConnectionsServer {
	return &sender{ctx: ctx, events: eventCh}
}

type sender struct {
	grpc.ServerStream
	ctx    context.Context
	events chan<- *networkservice.ConnectionEvent
}

func (s *sender) Send(event *networkservice.ConnectionEvent) error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case s.events <- event:
		return nil
	}
}

func (s *sender) Context() context.Context     { return s.ctx }
func (s *sender) SetHeader(metadata.MD) error  { return nil }
func (s *sender) SendHeader(metadata.MD) error { return nil }
func (s *sender) SetTrailer(metadata.MD)       {}
