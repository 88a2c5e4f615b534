// SPDX-License-Identifier: Apache-2.0

// Package connectioncontext gives the kernel interfaces of a connection what
// its context says: addresses, routes, policy routes, neighbours and MTU.
package connectioncontext

import (
	"context"
	"errors"
	"fmt"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	"github.com/networkservicemesh/sdk/pkg/tools/postpone"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/podnet"
	undo "github.com/nsm-afxdp/forwarder/pkg/networkservice"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type server struct{}

// NewServer configures the kernel ports of both sides. It stands outside
// xconnect, which makes them, and takes the configuration back before they go:
// policy rules outlive an interface.
func NewServer() networkservice.NetworkServiceServer {
	return &server{}
}

// appliedKey holds the plane.Kernel that was configured last.
type appliedKey struct{}

func (s *server) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	closeCtx := postpone.ContextWithValues(ctx)
	conn, err := next.Server(ctx).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	if err := configure(ctx, conn.GetContext()); err != nil {
		return nil, undo.UndoServer(ctx, closeCtx, conn, err)
	}
	undo.SetEstablished(ctx)
	return conn, nil
}

// configure applies both sides' configuration. All of the context is parsed
// before any of it is applied.
func configure(ctx context.Context, c *networkservice.ConnectionContext) error {
	client, err := ClientConfig(c)
	if err != nil {
		return err
	}
	endpoint, err := EndpointConfig(c)
	if err != nil {
		return err
	}
	_, refresh := metadata.Map(ctx, true).Load(appliedKey{})
	if err := apply(ctx, true, endpoint); err != nil {
		return err
	}
	err = apply(ctx, false, client)
	if err != nil && !refresh {
		return errors.Join(err, remove(ctx, true))
	}
	return err
}

func apply(ctx context.Context, isClient bool, config podnet.Config) error {
	p, _ := port.Load(ctx, isClient)
	k, ok := p.(plane.Kernel)
	if !ok {
		return nil
	}
	if err := podnet.Apply(k.NetNS, k.Name, config); err != nil {
		return fmt.Errorf("configure %s: %w", k, err)
	}
	metadata.Map(ctx, isClient).Store(appliedKey{}, k)
	return nil
}

func remove(ctx context.Context, isClient bool) error {
	k, ok := metadata.Map(ctx, isClient).LoadAndDelete(appliedKey{})
	if !ok {
		return nil
	}
	return podnet.Remove(k.(plane.Kernel).NetNS, k.(plane.Kernel).Name)
}

func (s *server) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	if err := errors.Join(remove(ctx, false), remove(ctx, true)); err != nil {
		log.FromContext(ctx).Errorf("take back the configuration of %s: %v", conn.GetId(), err)
	}
	return next.Server(ctx).Close(ctx, conn)
}
