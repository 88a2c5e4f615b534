// SPDX-License-Identifier: Apache-2.0

package monitor

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/nexthop"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// relay turns what the next hop says about a connection into our events.
type relay struct {
	hub    *hub
	cc     grpc.ClientConnInterface
	cancel context.CancelFunc

	mu     sync.Mutex
	id     string
	paused bool // a Request is under way: what the next hop says is in flux
	ended  bool
}

// startRelay watches conn over cc until stop, or until the next hop is lost.
func startRelay(h *hub, cc grpc.ClientConnInterface, conn *networkservice.Connection) *relay {
	ctx, cancel := context.WithCancel(h.ctx)
	r := &relay{hub: h, cc: cc, cancel: cancel, id: conn.GetId()}
	own := conn.GetCurrentPathSegment().Clone()
	go func() {
		defer cancel()
		r.run(ctx, own)
	}()
	return r
}

func (r *relay) run(ctx context.Context, own *networkservice.PathSegment) {
	watch, err := nexthop.Open(ctx, r.cc, own)
	for err == nil {
		var events []nexthop.Event
		if events, err = watch.Next(); err == nil {
			r.pass(events)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if ctx.Err() != nil {
		return
	}
	if nexthop.Refused(err) {
		log.FromContext(ctx).Debugf("monitor: connection %s: %v", r.id, err)
		return
	}
	if !r.paused {
		r.hub.down(r.id)
	}
}

func (r *relay) pass(events []nexthop.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		return
	}
	for _, event := range events {
		if event.Type == networkservice.ConnectionEventType_DELETE {
			r.hub.down(r.id)
			continue
		}
		known, ok := r.hub.load(r.id)
		if !ok {
			continue
		}
		// A refresh makes every hop tell that the connection is UP. We have
		// just done so ourselves, and need not say it again for each of them.
		if state := event.Connection.GetState(); state == known.GetState() && state != networkservice.State_REFRESH_REQUESTED {
			continue
		}
		conn := known.Clone()
		conn.State = event.Connection.GetState()
		conn.Path.PathSegments = event.Connection.GetPath().Clone().GetPathSegments()
		r.hub.send(update(conn))
	}
}

// pause drops events until resume.
func (r *relay) pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = true
}

// resume returns false if the relay cannot serve conn over cc any more.
func (r *relay) resume(cc grpc.ClientConnInterface) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = false
	return !r.ended && r.cc == cc
}

func (r *relay) stop() {
	r.pause() // nothing that is on its way may follow
	r.cancel()
}
