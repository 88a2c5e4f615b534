// SPDX-License-Identifier: Apache-2.0

// Package either holds what the two registries of NSM have in common, so that
// one chain element can serve either. They differ only in types: the resource
// T that is registered, the query Q, and the stream F of answers to a Find.
package either

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"
)

// Client is registry.NetworkServiceRegistryClient or
// registry.NetworkServiceEndpointRegistryClient.
type Client[T, Q, F any] interface {
	Register(ctx context.Context, in T, opts ...grpc.CallOption) (T, error)
	Find(ctx context.Context, in Q, opts ...grpc.CallOption) (F, error)
	Unregister(ctx context.Context, in T, opts ...grpc.CallOption) (*emptypb.Empty, error)
}

// Server is registry.NetworkServiceRegistryServer or
// registry.NetworkServiceEndpointRegistryServer.
type Server[T, Q, F any] interface {
	Register(ctx context.Context, in T) (T, error)
	Find(in Q, stream F) error
	Unregister(ctx context.Context, in T) (*emptypb.Empty, error)
}

// Resource is a pointer to registry.NetworkService or
// registry.NetworkServiceEndpoint.
type Resource[T any] interface {
	Clone() T
	GetName() string
	GetPathIds() []string
}

// Query is a pointer to registry.NetworkServiceQuery or
// registry.NetworkServiceEndpointQuery.
type Query interface {
	GetWatch() bool
}

// Stream is any of the four streams of a Find.
type Stream interface {
	Context() context.Context
}

// RecvStream is the client's end of a Find with responses R.
type RecvStream[R any] interface {
	Stream
	Recv() (R, error)
}

// SendStream is the server's end of a Find with responses R.
type SendStream[R any] interface {
	Stream
	Send(R) error
}

// Response is a pointer to registry.NetworkServiceResponse or
// registry.NetworkServiceEndpointResponse.
type Response interface {
	GetDeleted() bool
}

// SetPathIDs sets the path_ids of in.
func SetPathIDs[T any](in T, ids []string) {
	switch resource := any(in).(type) {
	case *registry.NetworkService:
		resource.PathIds = ids
	case *registry.NetworkServiceEndpoint:
		resource.PathIds = ids
	}
}

// NameOf returns the name by which the elements of a chain know a resource from
// its registration to its Unregister: the one asked for, or if there was none,
// the one that the registry gave. Registries may answer with another name, that
// of another domain without the domain.
func NameOf[T Resource[T]](asked, answer T) string {
	if name := asked.GetName(); name != "" {
		return name
	}
	return answer.GetName()
}

// SetName sets the name of in.
func SetName[T any](in T, name string) {
	switch resource := any(in).(type) {
	case *registry.NetworkService:
		resource.Name = name
	case *registry.NetworkServiceEndpoint:
		resource.Name = name
	}
}

// URL returns the URL of an endpoint; a network service has none.
func URL[T any](in T) string {
	if nse, ok := any(in).(*registry.NetworkServiceEndpoint); ok {
		return nse.GetUrl()
	}
	return ""
}

// SetURL sets the URL of an endpoint.
func SetURL[T any](in T, url string) {
	if nse, ok := any(in).(*registry.NetworkServiceEndpoint); ok {
		nse.Url = url
	}
}

// QueryByName returns a query that watches the resource of this name.
func QueryByName[Q any](name string) Q {
	var query Q
	switch q := any(&query).(type) {
	case **registry.NetworkServiceQuery:
		*q = &registry.NetworkServiceQuery{NetworkService: &registry.NetworkService{Name: name}, Watch: true}
	case **registry.NetworkServiceEndpointQuery:
		*q = &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name}, Watch: true}
	}
	return query
}
