// SPDX-License-Identifier: Apache-2.0

// Package clientconn keeps the gRPC connection to the next hop for each NSM
// connection, in the metadata of the client half.
package clientconn

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

type key struct{}

// Store sets the gRPC connection to the next hop.
func Store(ctx context.Context, cc grpc.ClientConnInterface) {
	metadata.Map(ctx, true).Store(key{}, cc)
}

// Delete forgets the gRPC connection to the next hop.
func Delete(ctx context.Context) { metadata.Map(ctx, true).Delete(key{}) }

// Load returns the gRPC connection to the next hop, if there is one.
func Load(ctx context.Context) (value grpc.ClientConnInterface, ok bool) {
	stored, _ := metadata.Map(ctx, true).Load(key{})
	value, ok = stored.(grpc.ClientConnInterface)
	return value, ok
}

// LoadOrStore returns the gRPC connection to the next hop and true, or sets it
// to cc and returns that and false.
func LoadOrStore(ctx context.Context, cc grpc.ClientConnInterface) (value grpc.ClientConnInterface, ok bool) {
	stored, ok := metadata.Map(ctx, true).LoadOrStore(key{}, cc)
	value, _ = stored.(grpc.ClientConnInterface)
	return value, ok
}

// LoadAndDelete is Load followed by Delete.
func LoadAndDelete(ctx context.Context) (value grpc.ClientConnInterface, ok bool) {
	stored, _ := metadata.Map(ctx, true).LoadAndDelete(key{})
	value, ok = stored.(grpc.ClientConnInterface)
	return value, ok
}

type clientConnClient struct{ cc grpc.ClientConnInterface }

// NewClient returns the element that makes cc the connection to the next hop
// where there is none yet. With nil it does nothing.
func NewClient(cc grpc.ClientConnInterface) networkservice.NetworkServiceClient {
	return &clientConnClient{cc: cc}
}

func (c *clientConnClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	c.fill(ctx)
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (c *clientConnClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.fill(ctx)
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func (c *clientConnClient) fill(ctx context.Context) {
	if c.cc != nil {
		LoadOrStore(ctx, c.cc)
	}
}
