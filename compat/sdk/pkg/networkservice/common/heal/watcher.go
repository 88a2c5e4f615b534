// SPDX-License-Identifier: Apache-2.0

package heal

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/nexthop"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/tools/clock"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

// pause is how long to wait after an attempt to heal that failed.
const pause = 50 * time.Millisecond

// watcher watches one connection until it breaks, and then heals it. A healed
// connection has a watcher of its own.
type watcher struct {
	options options
	clock   clock.Clock
	ctx     context.Context
	cancel  context.CancelFunc
	cc      grpc.ClientConnInterface
	own     *networkservice.PathSegment
	factory begin.EventFactory

	conn        atomic.Pointer[networkservice.Connection]
	broken      atomic.Bool
	reselecting atomic.Bool
}

func newWatcher(h *healClient, conn *networkservice.Connection, cc grpc.ClientConnInterface, factory begin.EventFactory) *watcher {
	ctx, cancel := context.WithCancel(h.ctx)
	w := &watcher{
		options: h.options,
		clock:   clock.FromContext(h.ctx),
		ctx:     ctx,
		cancel:  cancel,
		cc:      cc,
		own:     conn.GetCurrentPathSegment().Clone(),
		factory: factory,
	}
	w.conn.Store(conn)
	return w
}

// update gives the watcher what a refresh has changed. It returns false if the
// watcher cannot serve that.
func (w *watcher) update(conn *networkservice.Connection, cc grpc.ClientConnInterface) bool {
	w.conn.Store(conn)
	return !w.broken.Load() && w.ctx.Err() == nil && w.cc == cc
}

func (w *watcher) run() {
	reselect, broken := w.watch()
	if broken {
		w.heal(reselect)
	}
}

// watch returns when the connection breaks, with whether that calls for another
// endpoint, or when the watcher is cancelled.
func (w *watcher) watch() (reselect, broken bool) {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	lost := make(chan struct{})
	go func() {
		if w.watchControlPlane(ctx) {
			w.broken.Store(true)
			close(lost)
		}
	}()
	var check <-chan time.Time
	if w.options.check != nil {
		ticker := w.clock.Ticker(w.options.interval)
		defer ticker.Stop()
		check = ticker.C()
	}
	for {
		select {
		case <-w.ctx.Done():
			return false, false
		case <-lost:
			log.FromContext(w.ctx).Warnf("heal: connection %s: control plane is lost", w.own.GetId())
			return w.options.check == nil, true
		case <-check:
			if !w.alive() && w.ctx.Err() == nil {
				w.broken.Store(true)
				log.FromContext(w.ctx).Warnf("heal: connection %s: data plane is lost", w.own.GetId())
				return true, true
			}
		}
	}
}

// watchControlPlane returns true when the connection is lost, and false when
// there is nothing to be watched or ctx has ended.
func (w *watcher) watchControlPlane(ctx context.Context) (lost bool) {
	watch, err := nexthop.Open(ctx, w.cc, w.own)
	for err == nil {
		var events []nexthop.Event
		if events, err = watch.Next(); err != nil {
			break
		}
		for _, event := range events {
			if event.Type == networkservice.ConnectionEventType_DELETE ||
				event.Connection.GetState() == networkservice.State_DOWN {
				return true
			}
		}
	}
	if ctx.Err() != nil {
		return false
	}
	if nexthop.Refused(err) {
		log.FromContext(ctx).Warnf("heal: connection %s: only its data plane is watched: %v", w.own.GetId(), err)
		return false
	}
	return true
}

func (w *watcher) alive() bool {
	ctx, cancel := w.clock.WithTimeout(w.ctx, w.options.timeout)
	defer cancel()
	return w.options.check(ctx, w.conn.Load())
}

func (w *watcher) heal(reselect bool) {
	logger := log.FromContext(w.ctx)
	for w.ctx.Err() == nil {
		if !reselect && !w.alive() {
			logger.Warnf("heal: connection %s: data plane is lost", w.own.GetId())
			reselect = true
		}
		opts := []begin.Option{begin.CancelContext(w.ctx)}
		if reselect {
			opts = append(opts, begin.WithReselect())
		}
		w.reselecting.Store(reselect)
		err := <-w.factory.Request(opts...)
		w.reselecting.Store(false)
		if err == nil {
			return
		}
		logger.Warnf("heal: connection %s: %v", w.own.GetId(), err)
		timer := w.clock.Timer(pause)
		select {
		case <-timer.C():
		case <-w.ctx.Done():
			timer.Stop()
		}
	}
}
