// SPDX-License-Identifier: Apache-2.0

package nsc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// findExisting asks the nsmgr for connections that an earlier run of this client, or
// the pod's init container, made and left. It fills requests that match one with it, so
// that they refresh it instead of making another, and returns how many.
func (c *Config) findExisting(ctx context.Context, identity *service.Identity, requests []*networkservice.NetworkServiceRequest) (int, error) {
	cc, err := grpc.NewClient(grpcutils.URLToTarget(&c.ConnectTo), identity.DialOptions()...)
	if err != nil {
		return 0, fmt.Errorf("ask %s for existing connections: %w", &c.ConnectTo, err)
	}
	defer func() { _ = cc.Close() }()
	ctx, cancel := context.WithTimeout(ctx, c.RequestTimeout)
	defer cancel()
	monitor := networkservice.NewMonitorConnectionClient(cc)
	found := 0
	for _, request := range requests {
		existing, err := ask(ctx, monitor, request)
		if err != nil {
			return found, fmt.Errorf("ask %s for existing connections: %w", &c.ConnectTo, err)
		}
		if existing != nil {
			request.Connection = existing
			found++
		}
	}
	return found, nil
}

func ask(ctx context.Context, monitor networkservice.MonitorConnectionClient, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id := request.GetConnection().GetId()
	events, err := monitor.MonitorConnections(ctx, &networkservice.MonitorScopeSelector{
		PathSegments: []*networkservice.PathSegment{{Id: id}, {}},
	}, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	// The first event is the state at the moment, even when that is empty.
	event, err := events.Recv()
	if err != nil {
		return nil, err
	}
	for _, conn := range event.GetConnections() {
		if adoptable(conn, request) {
			return asOurs(conn, id), nil
		}
	}
	return nil, nil
}

// adoptable tells whether conn, as the nsmgr knows it, is what the request asks for.
func adoptable(conn *networkservice.Connection, request *networkservice.NetworkServiceRequest) bool {
	path := conn.GetPath()
	if path.GetIndex() != 1 || len(path.GetPathSegments()) == 0 || path.GetPathSegments()[0].GetId() != request.GetConnection().GetId() ||
		conn.GetNetworkService() != request.GetConnection().GetNetworkService() {
		return false
	}
	has, wants := conn.GetMechanism(), request.GetMechanismPreferences()[0]
	return has.GetType() == wants.GetType() && (interfaceName(wants) == "" || interfaceName(wants) == interfaceName(has))
}

// asOurs turns the nsmgr's view of a connection into that of the client.
func asOurs(conn *networkservice.Connection, id string) *networkservice.Connection {
	conn = conn.Clone()
	conn.Id = id
	conn.Path.Index = 0
	return conn
}
