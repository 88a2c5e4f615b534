// SPDX-License-Identifier: Apache-2.0

package dnscontext

import (
	"context"
	"sync"

	"github.com/edwarnicke/genericsync"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

type dnsContextClient struct {
	ctx        context.Context
	path       string
	nameServer string
	configs    *genericsync.Map[string, []*networkservice.DNSConfig]

	start    sync.Once
	original *networkservice.DNSConfig
}

// DNSOption configures NewClient.
type DNSOption interface {
	apply(*dnsContextClient)
}

type dnsOption func(*dnsContextClient)

func (o dnsOption) apply(d *dnsContextClient) { o(d) }

// WithResolveConfigPath sets the resolver's configuration to rewrite:
// /etc/resolv.conf unless set.
func WithResolveConfigPath(path string) DNSOption {
	return dnsOption(func(d *dnsContextClient) { d.path = path })
}

// WithDefaultNameServerIP sets the name server that knows the configurations in
// the map: 127.0.0.1 unless set.
func WithDefaultNameServerIP(ip string) DNSOption {
	return dnsOption(func(d *dnsContextClient) { d.nameServer = ip })
}

// WithDNSConfigsMap sets the map in which the name server finds configurations
// by connection id.
func WithDNSConfigsMap(configsMap *genericsync.Map[string, []*networkservice.DNSConfig]) DNSOption {
	return dnsOption(func(d *dnsContextClient) { d.configs = configsMap })
}

// WithChainContext sets the context whose end restores the resolver's
// configuration.
func WithChainContext(ctx context.Context) DNSOption {
	return dnsOption(func(d *dnsContextClient) { d.ctx = ctx })
}

// NewClient returns the element that puts what endpoints reply into the map, in
// addition to what the resolver was configured with. From the first Request on
// the resolver asks the name server of WithDefaultNameServerIP.
func NewClient(options ...DNSOption) networkservice.NetworkServiceClient {
	d := &dnsContextClient{
		ctx:        context.Background(),
		path:       "/etc/resolv.conf",
		nameServer: "127.0.0.1",
		configs:    new(genericsync.Map[string, []*networkservice.DNSConfig]),
	}
	for _, option := range options {
		option.apply(d)
	}
	return d
}

// redirect has the resolver use our name server, and undoes that at the end.
func (d *dnsContextClient) redirect() {
	file, err := readResolvConf(d.path)
	if err != nil {
		log.FromContext(d.ctx).Errorf("dns context: %v", err)
		return
	}
	d.original = file.config()
	if err := file.redirect(d.nameServer); err != nil {
		log.FromContext(d.ctx).Errorf("dns context: %v", err)
		return
	}
	context.AfterFunc(d.ctx, func() {
		if err := file.restore(); err != nil {
			log.FromContext(d.ctx).Errorf("dns context: %v", err)
		}
	})
}

func (d *dnsContextClient) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	d.start.Do(d.redirect)
	dnsContext(request.GetConnection())
	conn, err := next.Client(ctx).Request(ctx, request, opts...)
	if err != nil {
		return nil, err
	}
	var configs []*networkservice.DNSConfig
	if d.original != nil {
		configs = append(configs, d.original)
	}
	d.configs.Store(conn.GetId(), append(configs, conn.GetContext().GetDnsContext().GetConfigs()...))
	return conn, nil
}

func (d *dnsContextClient) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	d.configs.Delete(conn.GetId())
	return next.Client(ctx).Close(ctx, conn, opts...)
}
