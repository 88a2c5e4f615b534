// SPDX-License-Identifier: Apache-2.0

package netsvcmonitor

import (
	"context"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/matchutils"
)

// retryInterval is the pause before a watch that broke is opened again.
const retryInterval = 100 * time.Millisecond

// watched is a connection.
type watched struct {
	service, endpoint string
	labels            map[string]string
	factory           begin.EventFactory
	stop              func() bool // of the timer of its life
}

// watches has one for each network service that has connections.
type watches struct {
	ctx context.Context
	ns  registry.NetworkServiceRegistryClient
	nse registry.NetworkServiceEndpointRegistryClient

	mu        sync.Mutex
	byService map[string]*watch
}

type watch struct {
	cancel context.CancelFunc
	conns  map[*watched]struct{}
	last   *registry.NetworkService // nil before it was seen
}

func (w *watches) join(conn *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.byService[conn.service]; at != nil {
		at.conns[conn] = struct{}{}
		if at.last != nil {
			go w.check(w.ctx, at.last, conn)
		}
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	at := &watch{cancel: cancel, conns: map[*watched]struct{}{conn: {}}}
	w.byService[conn.service] = at
	go w.run(ctx, conn.service, at)
}

func (w *watches) leave(conn *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.byService[conn.service]
	if at == nil {
		return
	}
	delete(at.conns, conn)
	if len(at.conns) == 0 {
		at.cancel()
		delete(w.byService, conn.service)
	}
}

func (w *watches) run(ctx context.Context, service string, at *watch) {
	for ctx.Err() == nil {
		if err := w.follow(ctx, service, at); ctx.Err() == nil {
			log.FromContext(ctx).Warnf("watch network service %s: %v", service, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

func (w *watches) follow(ctx context.Context, service string, at *watch) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.ns.Find(ctx, &registry.NetworkServiceQuery{
		NetworkService: &registry.NetworkService{Name: service}, Watch: true,
	})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		// A service that is deleted leaves its connections as they are: the
		// deletion may be part of an update.
		if response.GetDeleted() || response.GetNetworkService().GetName() != service {
			continue
		}
		w.mu.Lock()
		at.last = response.GetNetworkService()
		conns := make([]*watched, 0, len(at.conns))
		for conn := range at.conns {
			conns = append(conns, conn)
		}
		w.mu.Unlock()
		for _, conn := range conns {
			w.check(ctx, response.GetNetworkService(), conn)
		}
	}
}

// check closes conn if ns does not admit its endpoint. An endpoint that is not
// registered any more is left to the client's heal.
func (w *watches) check(ctx context.Context, ns *registry.NetworkService, conn *watched) {
	if len(ns.GetMatches()) == 0 {
		return
	}
	stream, err := w.nse.Find(ctx, &registry.NetworkServiceEndpointQuery{
		NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: conn.endpoint},
	})
	if err != nil {
		log.FromContext(ctx).Warnf("find endpoint %s: %v", conn.endpoint, err)
		return
	}
	nses := registry.ReadNetworkServiceEndpointList(stream)
	if len(nses) == 0 || len(matchutils.MatchEndpoint(conn.labels, ns, nses...)) > 0 {
		return
	}
	log.FromContext(ctx).Infof("network service %s does not admit endpoint %s any more: close", conn.service, conn.endpoint)
	w.leave(conn)
	conn.factory.Close()
}
