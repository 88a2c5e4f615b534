// SPDX-License-Identifier: Apache-2.0

// Package descriptors refuses mechanisms that name a namespace or a socket by a
// path. The path would be looked up by us, with our rights, in our view of the
// processes of the node: /proc/1/ns/net is the node's own network. A peer proves
// with the file descriptor that the file is open to itself; sendfd makes every
// path of an honest peer an inode: URL beside a descriptor, and recvfd makes
// that a path of ours.
package descriptors

import (
	"context"
	"fmt"
	"net/url"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"

	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
)

func check(m *networkservice.Mechanism) error {
	text := m.GetParameters()[common.InodeURL]
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("mechanism %s: parameter inodeURL: %w", m.GetType(), err)
	}
	if u.Scheme != "inode" {
		return fmt.Errorf("mechanism %s: parameter inodeURL is %q: want an inode: URL and the file's descriptor beside the message",
			m.GetType(), text)
	}
	return nil
}

type server struct{}

// NewServer checks requests that come over a network connection. It stands
// outside recvfd.
func NewServer() networkservice.NetworkServiceServer { return server{} }

func (server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if _, remote := peer.FromContext(ctx); remote {
		for _, m := range append(request.GetMechanismPreferences(), request.GetConnection().GetMechanism()) {
			if err := check(m); err != nil {
				return nil, err
			}
		}
	}
	return next.Server(ctx).Request(ctx, request)
}

func (server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

type client struct{}

// NewClient checks the next hop's answers. It stands inside recvfd and sendfd,
// where the answer is as it came.
func NewClient() networkservice.NetworkServiceClient { return client{} }

func (client) Request(
	ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption,
) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if err := check(conn.GetMechanism()); err != nil {
		return nil, undo.UndoClient(ctx, closeCtx, conn, err, opts...)
	}
	return conn, nil
}

func (client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
