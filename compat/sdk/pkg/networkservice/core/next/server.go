// SPDX-License-Identifier: Apache-2.0

// Package next joins chain elements: each finds the one behind it in the
// context and calls it, or does not.
package next

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// ServerWrapper adds something around one server.
type ServerWrapper func(networkservice.NetworkServiceServer) networkservice.NetworkServiceServer

// ServerChainer makes one server of several.
type ServerChainer func(...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer

// NewWrappedNetworkServiceServer is NewNetworkServiceServer with each server
// wrapped.
func NewWrappedNetworkServiceServer(wrapper ServerWrapper, servers ...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	wrapped := make([]networkservice.NetworkServiceServer, len(servers))
	for i, server := range servers {
		wrapped[i] = wrapper(server)
	}
	return &serverChain{servers: wrapped}
}

// NewNetworkServiceServer returns the chain of servers. Used as an element of
// another chain it goes on there after its last server.
func NewNetworkServiceServer(servers ...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	return &serverChain{servers: append([]networkservice.NetworkServiceServer(nil), servers...)}
}

// serverChain is a chain that has not been entered.
type serverChain struct {
	servers []networkservice.NetworkServiceServer
}

func (c *serverChain) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return c.rest(ctx).Request(ctx, request)
}

func (c *serverChain) Close(ctx context.Context, connection *networkservice.Connection) (*emptypb.Empty, error) {
	return c.rest(ctx).Close(ctx, connection)
}

func (c *serverChain) rest(ctx context.Context) networkservice.NetworkServiceServer {
	return restOfServers(c.servers, Server(ctx))
}

// serverRest is what is left of an entered chain: at least one server, and then
// the chain around it.
type serverRest struct {
	servers []networkservice.NetworkServiceServer
	outer   networkservice.NetworkServiceServer
}

func restOfServers(servers []networkservice.NetworkServiceServer, outer networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
	if len(servers) == 0 {
		return outer
	}
	return &serverRest{servers: servers, outer: outer}
}

func (r *serverRest) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return r.servers[0].Request(withServer(ctx, restOfServers(r.servers[1:], r.outer)), request)
}

func (r *serverRest) Close(ctx context.Context, connection *networkservice.Connection) (*emptypb.Empty, error) {
	return r.servers[0].Close(withServer(ctx, restOfServers(r.servers[1:], r.outer)), connection)
}

type tailServer struct{}

func (tailServer) Request(_ context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return request.GetConnection(), nil
}

func (tailServer) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}
