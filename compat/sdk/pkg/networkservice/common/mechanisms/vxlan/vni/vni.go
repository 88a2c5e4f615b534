// SPDX-License-Identifier: Apache-2.0

// Package vni agrees on a VXLAN tunnel: each side says its address and port,
// the server chooses the VNI.
package vni

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// defaultPort of VXLAN (RFC 7348, section 8).
const defaultPort = 4789

// Option changes an element.
type Option func(o *vniOpions)

type vniOpions struct {
	tunnelPort uint16
}

// WithTunnelPort sets the UDP port of this side; 4789 without it.
func WithTunnelPort(tunnelPort uint16) Option {
	return func(o *vniOpions) { o.tunnelPort = tunnelPort }
}

func apply(options []Option) vniOpions {
	o := vniOpions{tunnelPort: defaultPort}
	for _, option := range options {
		option(&o)
	}
	return o
}

type client struct {
	vniOpions
	tunnelIP net.IP
}

// NewClient returns a client that fills in the source of VXLAN preferences.
func NewClient(tunnelIP net.IP, options ...Option) networkservice.NetworkServiceClient {
	return &client{tunnelIP: tunnelIP, vniOpions: apply(options)}
}

func (c *client) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	for _, preference := range request.GetMechanismPreferences() {
		if mechanism := vxlan.ToMechanism(preference); mechanism != nil {
			mechanism.SetSrcIP(c.tunnelIP)
			mechanism.SetSrcPort(c.tunnelPort)
		}
	}
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (c *client) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	return next.Client(ctx).Close(ctx, conn, opts...)
}
