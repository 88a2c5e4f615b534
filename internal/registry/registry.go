// SPDX-License-Identifier: Apache-2.0

// Package registry is the process that keeps the network services and endpoints of a
// domain in memory.
package registry

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Config has the names and defaults of the stock registries.
type Config struct {
	ListenOn               []url.URL     `default:"unix:///listen.on.socket" desc:"URLs to serve on" split_words:"true"`
	ExpirePeriod           time.Duration `default:"1m" desc:"longest time that an endpoint stays without registering again" split_words:"true"`
	ProxyRegistryURL       url.URL       `desc:"URL of the registry that is asked for names of other domains" split_words:"true"`
	RegistryServerPolicies []string      `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/server/.*.rego" desc:"paths of the OPA policies for who may register" split_words:"true"`
	RegistryClientPolicies []string      `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/client/.*.rego" desc:"paths of the OPA policies for the answers of other registries" split_words:"true"`
	service.Common
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if len(c.ListenOn) == 0 {
		return fmt.Errorf("NSM_LISTEN_ON: want at least one URL")
	}
	if c.ExpirePeriod <= 0 {
		return fmt.Errorf("NSM_EXPIRE_PERIOD=%s: want more than 0", c.ExpirePeriod)
	}
	return nil
}

// Program is the command.
func Program() service.Program {
	c := new(Config)
	return service.Program{
		Name:  "registry",
		Short: "keep the network services and endpoints of a domain in memory",
		About: `
The nsmgr of each node registers endpoints here and finds those of other nodes.
Nothing is stored: after a restart everyone registers again, which takes as long
as their refresh.`,
		Config: c,
		Run:    func(ctx context.Context) error { return Run(ctx, c) },
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, c *Config) error {
	started := time.Now()
	ctx, identity, stop, err := c.Start(ctx, "registry")
	if err != nil {
		return err
	}
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	options := []memory.Option{
		memory.WithDefaultExpiration(c.ExpirePeriod),
		memory.WithDialOptions(identity.DialOptions()...),
		memory.WithAuthorizeNSRegistryServer(authorize.NewNetworkServiceRegistryServer(authorize.WithPolicies(c.RegistryServerPolicies...))),
		memory.WithAuthorizeNSERegistryServer(authorize.NewNetworkServiceEndpointRegistryServer(authorize.WithPolicies(c.RegistryServerPolicies...))),
		memory.WithAuthorizeNSRegistryClient(authorize.NewNetworkServiceRegistryClient(authorize.WithPolicies(c.RegistryClientPolicies...))),
		memory.WithAuthorizeNSERegistryClient(authorize.NewNetworkServiceEndpointRegistryClient(authorize.WithPolicies(c.RegistryClientPolicies...))),
	}
	if c.ProxyRegistryURL != (url.URL{}) {
		options = append(options, memory.WithProxyRegistryURL(&c.ProxyRegistryURL))
	}
	registry := memory.NewServer(ctx, identity.Tokens, options...)

	server := grpc.NewServer(identity.ServerOptions()...)
	registry.Register(server)
	wait, err := service.Serve(ctx, server, fail, service.Pointers(c.ListenOn)...)
	if err != nil {
		return err
	}
	defer wait() // ctx has ended by then
	log.FromContext(ctx).Infof("startup completed in %v", time.Since(started))
	return service.Wait(ctx)
}
