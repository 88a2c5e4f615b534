// SPDX-License-Identifier: Apache-2.0

// Package endpoint is the chain that every NSM server starts with, be it an
// endpoint, a forwarder or a manager.
package endpoint

import (
	"context"
	"net/url"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/begin"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/monitor"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/timeout"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/trimpath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatetoken"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/networkservicemesh/sdk/pkg/tools/grpcutils"
	authmonitor "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"
	"github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/next"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
)

// Endpoint serves connections and tells subscribers about them.
type Endpoint interface {
	networkservice.NetworkServiceServer
	networkservice.MonitorConnectionServer

	// Register registers both services, and health, with s.
	Register(s *grpc.Server)
}

type endpoint struct {
	networkservice.NetworkServiceServer
	networkservice.MonitorConnectionServer
}

func (e *endpoint) Register(s *grpc.Server) {
	grpcutils.RegisterHealthServices(s, e)
	networkservice.RegisterNetworkServiceServer(s, e)
	networkservice.RegisterMonitorConnectionServer(s, e)
}

type serverOptions struct {
	name             string
	authorize        networkservice.NetworkServiceServer
	authorizeMonitor networkservice.MonitorConnectionServer
	additional       []networkservice.NetworkServiceServer
}

// Option configures NewServer.
type Option func(o *serverOptions)

// WithName sets the name of the hop in paths: a random one unless set.
func WithName(name string) Option { return func(o *serverOptions) { o.name = name } }

// WithAuthorizeServer sets who may connect: everybody unless set.
func WithAuthorizeServer(authorizeServer networkservice.NetworkServiceServer) Option {
	if authorizeServer == nil {
		panic("endpoint: WithAuthorizeServer(nil)")
	}
	return func(o *serverOptions) { o.authorize = authorizeServer }
}

// WithAuthorizeMonitorConnectionServer sets who may subscribe: everybody unless
// set.
func WithAuthorizeMonitorConnectionServer(authorizeMonitorConnectionServer networkservice.MonitorConnectionServer) Option {
	if authorizeMonitorConnectionServer == nil {
		panic("endpoint: WithAuthorizeMonitorConnectionServer(nil)")
	}
	return func(o *serverOptions) { o.authorizeMonitor = authorizeMonitorConnectionServer }
}

// WithAdditionalFunctionality sets what follows at the end of the chain.
func WithAdditionalFunctionality(additionalFunctionality ...networkservice.NetworkServiceServer) Option {
	return func(o *serverOptions) { o.additional = additionalFunctionality }
}

// NewServer returns the chain. What it does by itself (closing connections that
// are not refreshed, event streams) ends with ctx.
func NewServer(ctx context.Context, tokenGenerator token.GeneratorFunc, options ...Option) Endpoint {
	o := &serverOptions{
		name:             "endpoint-" + uuid.NewString(),
		authorize:        authorize.NewServer(authorize.Any()),
		authorizeMonitor: authmonitor.NewMonitorConnectionServer(authmonitor.Any()),
	}
	for _, option := range options {
		option(o)
	}
	var events networkservice.MonitorConnectionServer
	servers := append([]networkservice.NetworkServiceServer{
		updatepath.NewServer(o.name),
		begin.NewServer(),
		updatetoken.NewServer(tokenGenerator),
		o.authorize,
		metadata.NewServer(),
		timeout.NewServer(ctx),
		monitor.NewServer(ctx, &events),
		trimpath.NewServer(),
	}, o.additional...)
	return &endpoint{
		NetworkServiceServer:    chain.NewNetworkServiceServer(servers...),
		MonitorConnectionServer: next.NewMonitorConnectionServer(o.authorizeMonitor, events),
	}
}

// Serve serves endpoint at listenOn until ctx ends; see grpcutils.ListenAndServe.
func Serve(ctx context.Context, listenOn *url.URL, endpoint Endpoint, opt ...grpc.ServerOption) <-chan error {
	server := grpc.NewServer(opt...)
	endpoint.Register(server)
	return grpcutils.ListenAndServe(ctx, listenOn, server)
}
