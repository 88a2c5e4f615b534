// SPDX-License-Identifier: Apache-2.0

// Package nsmonitor closes a connection when a pod at one of its ends is gone.
//
// The forwarder holds the pod's network namespace open, so the namespace and
// the interfaces in it outlive the pod, and would go on answering pings. The
// sign of a pod's end is that no process is left in its namespace.
package nsmonitor

import (
	"context"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type server struct {
	tenants *tenants
	// ctx is the chain's: closing a connection that lost its pod has no caller.
	ctx context.Context
}

// NewServer watches the pods of kernel and memif ports, on both sides, until ctx
// ends. It
// sees processes of pods only in the host's PID namespace (hostPID: true);
// elsewhere it does nothing.
func NewServer(ctx context.Context) (networkservice.NetworkServiceServer, error) {
	t, err := newTenants(ctx)
	if err != nil {
		return nil, err
	}
	return &server{tenants: t, ctx: ctx}, nil
}

type watchedKey struct{}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	factory := begin.FromContext(ctx)
	for _, isClient := range []bool{false, true} {
		s.watch(ctx, conn.GetId(), isClient, factory)
	}
	return conn, nil
}

func (s *server) watch(ctx context.Context, connID string, isClient bool, factory begin.EventFactory) {
	p, _ := port.Load(ctx, isClient)
	ns, ok := namespaceOf(p)
	if !ok {
		return
	}
	id := fmt.Sprint(connID, isClient)
	m := metadata.Map(ctx, isClient)
	if old, ok := m.Load(watchedKey{}); ok {
		if old == ns {
			return
		}
		s.tenants.remove(old.(namespace), id)
	}
	logger := log.FromContext(ctx)
	err := s.tenants.add(ns, id, func() {
		logger.Infof("%s: no process is left in its pod, closing connection %s", p, connID)
		select {
		case err := <-factory.Close():
			if err != nil {
				logger.Warnf("close connection %s: %v", connID, err)
			}
		case <-s.ctx.Done():
		}
	})
	if err != nil {
		logger.Warnf("the end of the pod of %s will not be noticed: %v", p, err)
		return
	}
	m.Store(watchedKey{}, ns)
}

// namespaceOf returns the network namespace of the pod that a port leads to. A
// memif over a socket file tells of none.
func namespaceOf(p plane.Port) (namespace, bool) {
	switch p := p.(type) {
	case plane.Kernel:
		return namespace{p.Device, p.Inode}, true
	case plane.Memif:
		return namespace{p.Device, p.Inode}, p.NetNS != ""
	}
	return namespace{}, false
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	for _, isClient := range []bool{false, true} {
		if ns, ok := metadata.Map(ctx, isClient).LoadAndDelete(watchedKey{}); ok {
			s.tenants.remove(ns.(namespace), fmt.Sprint(conn.GetId(), isClient))
		}
	}
	return next.Server(ctx).Close(ctx, conn)
}
