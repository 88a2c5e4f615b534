// SPDX-License-Identifier: Apache-2.0

package podmemif

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/connectioncontext"
)

type client struct{ connections *Connections }

// NewClient asks for memifs in the namespace of this process, and puts a stack on each
// that it is given. A refresh that names another socket moves the stack there.
func NewClient(connections *Connections) networkservice.NetworkServiceClient {
	return &client{connections}
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	// A connection that an earlier run left names the namespace by its inode.
	for _, m := range append([]*networkservice.Mechanism{request.GetConnection().GetMechanism()}, request.GetMechanismPreferences()...) {
		if mechanism := memifmech.ToMechanism(m); mechanism != nil {
			mechanism.SetNetNSURL(ownNetNS)
		}
	}
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	if err := c.take(ctx, conn); err != nil {
		if c.connections.end(conn.GetId()) != nil {
			return nil, err // a refresh: what there is stays
		}
		undoCtx, cancel := closeCtx()
		defer cancel()
		if _, closeErr := next.Client(ctx).Close(undoCtx, conn, opts...); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("undo: %w", closeErr))
		}
		return nil, err
	}
	return conn, nil
}

// take connects to the socket of the reply.
func (c *client) take(ctx context.Context, conn *networkservice.Connection) error {
	mechanism := memifmech.ToMechanism(conn.GetMechanism())
	if mechanism == nil {
		return fmt.Errorf("memif: the reply has mechanism %s", conn.GetMechanism().GetType())
	}
	socket := mechanism.GetSocketFilename()
	if err := checkSocket(socket); err != nil {
		return err
	}
	config, err := connectioncontext.ClientConfig(conn.GetContext())
	if err != nil {
		return err
	}
	if len(config.Policies) > 0 && c.connections.end(conn.GetId()) == nil {
		log.FromContext(ctx).Warnf("connection %s: its %d policy routes are left out: a stack has one route to anywhere", conn.GetId(), len(config.Policies))
	}
	return c.connections.connect(ctx, conn, socket, config)
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	c.connections.remove(conn.GetId())
	return next.Client(ctx).Close(ctx, conn, opts...)
}

// maxSocketName is what fits into sun_path after its zero byte, with the '@' that
// stands for it.
const maxSocketName = 108

// checkSocket refuses what is no abstract socket: a path would lead out of
// the pod's network namespace and into its file system.
func checkSocket(socket string) error {
	if len(socket) < 2 || socket[0] != '@' || len(socket) > maxSocketName {
		return fmt.Errorf("memif: socket %q of the reply: want '@' and a name of at most %d bytes", socket, maxSocketName-1)
	}
	return nil
}
