// SPDX-License-Identifier: Apache-2.0

package next

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// ClientWrapper adds something around one client.
type ClientWrapper func(networkservice.NetworkServiceClient) networkservice.NetworkServiceClient

// ClientChainer makes one client of several.
type ClientChainer func(...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient

// NewWrappedNetworkServiceClient is NewNetworkServiceClient with each client
// wrapped.
func NewWrappedNetworkServiceClient(wrapper ClientWrapper, clients ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	wrapped := make([]networkservice.NetworkServiceClient, len(clients))
	for i, client := range clients {
		wrapped[i] = wrapper(client)
	}
	return &clientChain{clients: wrapped}
}

// NewNetworkServiceClient returns the chain of clients. Used as an element of
// another chain it goes on there after its last client.
func NewNetworkServiceClient(clients ...networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	return &clientChain{clients: append([]networkservice.NetworkServiceClient(nil), clients...)}
}

// clientChain is a chain that has not been entered.
type clientChain struct {
	clients []networkservice.NetworkServiceClient
}

func (c *clientChain) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return c.rest(ctx).Request(ctx, request, opts...)
}

func (c *clientChain) Close(ctx context.Context, connection *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return c.rest(ctx).Close(ctx, connection, opts...)
}

func (c *clientChain) rest(ctx context.Context) networkservice.NetworkServiceClient {
	return restOfClients(c.clients, Client(ctx))
}

// clientRest is what is left of an entered chain: at least one client, and then
// the chain around it.
type clientRest struct {
	clients []networkservice.NetworkServiceClient
	outer   networkservice.NetworkServiceClient
}

func restOfClients(clients []networkservice.NetworkServiceClient, outer networkservice.NetworkServiceClient) networkservice.NetworkServiceClient {
	if len(clients) == 0 {
		return outer
	}
	return &clientRest{clients: clients, outer: outer}
}

func (r *clientRest) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	return r.clients[0].Request(withClient(ctx, restOfClients(r.clients[1:], r.outer)), request, opts...)
}

func (r *clientRest) Close(ctx context.Context, connection *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return r.clients[0].Close(withClient(ctx, restOfClients(r.clients[1:], r.outer)), connection, opts...)
}

type tailClient struct{}

func (tailClient) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return request.GetConnection(), nil
}

func (tailClient) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return new(emptypb.Empty), nil
}
