// SPDX-License-Identifier: Apache-2.0

// Package dnscontext passes DNS configurations from endpoints to clients, and
// has the client's resolver use them.
package dnscontext

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

// GetDNSConfigsFunc returns the configurations that hold now.
type GetDNSConfigsFunc func() []*networkservice.DNSConfig

type dnsContextServer struct{ configs []*networkservice.DNSConfig }

// NewServer returns the element that adds configs to the DNS context, unless
// they are there already.
func NewServer(configs ...*networkservice.DNSConfig) networkservice.NetworkServiceServer {
	return &dnsContextServer{configs: configs}
}

func (d *dnsContextServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	dns := dnsContext(request.GetConnection())
	for _, config := range d.configs {
		if !contains(dns.GetConfigs(), config) {
			dns.Configs = append(dns.Configs, config)
		}
	}
	return next.Server(ctx).Request(ctx, request)
}

func (d *dnsContextServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

// dnsContext returns the DNS context of conn, made if it has none.
func dnsContext(conn *networkservice.Connection) *networkservice.DNSContext {
	if conn.GetContext() == nil {
		conn.Context = new(networkservice.ConnectionContext)
	}
	if conn.GetContext().GetDnsContext() == nil {
		conn.Context.DnsContext = new(networkservice.DNSContext)
	}
	return conn.GetContext().GetDnsContext()
}

func contains(configs []*networkservice.DNSConfig, wanted *networkservice.DNSConfig) bool {
	for _, config := range configs {
		if proto.Equal(config, wanted) {
			return true
		}
	}
	return false
}
