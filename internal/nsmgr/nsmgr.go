// SPDX-License-Identifier: Apache-2.0

// Package nsmgr is the mesh's manager process on a node: clients, endpoints and
// forwarders of the node talk to it, and it to those of other nodes and to the registry.
package nsmgr

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"google.golang.org/grpc"

	"github.com/edwarnicke/genericsync"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	chain "github.com/networkservicemesh/sdk/pkg/networkservice/chains/nsmgr"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	registryauthorize "github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/tools/listenonurl"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
	monitorauthorize "github.com/networkservicemesh/sdk/pkg/tools/monitorconnection/authorize"

	"github.com/nsm-afxdp/forwarder/internal/service"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/descriptors"
)

// Config has the names and defaults of the stock nsmgr.
type Config struct {
	Name                        string        `default:"nmgr" desc:"name of the nsmgr, unique in the domain"`
	ListenOn                    []url.URL     `default:"unix:///var/lib/networkservicemesh/nsm.io.sock" desc:"URLs to serve on; the first tcp one is that which other nodes use" split_words:"true"`
	RegistryURL                 url.URL       `default:"tcp://localhost:5001" desc:"URL of the registry" split_words:"true"`
	RegistryServerPolicies      []string      `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/server/.*.rego" desc:"paths of the OPA policies for who may register" split_words:"true"`
	RegistryClientPolicies      []string      `default:"etc/nsm/opa/common/.*.rego,etc/nsm/opa/registry/.*.rego,etc/nsm/opa/client/.*.rego" desc:"paths of the OPA policies for the registry's answers" split_words:"true"`
	DialTimeout                 time.Duration `default:"750ms" desc:"limit for dialling the next hop" split_words:"true"`
	ForwarderNetworkServiceName string        `default:"forwarder" desc:"network service that the node's forwarders register for" split_words:"true"`
	service.Common
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if len(c.ListenOn) == 0 {
		return fmt.Errorf("NSM_LISTEN_ON: want at least one URL")
	}
	if c.RegistryURL == (url.URL{}) {
		return fmt.Errorf("NSM_REGISTRY_URL: want the URL of the registry")
	}
	return nil
}

// Program is the command.
func Program() service.Program {
	c := new(Config)
	return service.Program{
		Name:  "nsmgr",
		Short: "manage the network service connections of a node",
		About: `
Clients ask the nsmgr of their node for network services. It finds an endpoint
for each request and passes it to a forwarder of the node, which passes it on to
the endpoint, over the nsmgr of the endpoint's node if that is another one.`,
		Config: c,
		Run:    func(ctx context.Context) error { return Run(ctx, c) },
	}
}

// Run serves until ctx ends.
func Run(ctx context.Context, c *Config) error {
	started := time.Now()
	ctx, identity, stop, err := c.Start(ctx, c.Name)
	if err != nil {
		return err
	}
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	// Who requested a connection may monitor it.
	owners := new(genericsync.Map[spiffeid.ID, *genericsync.Map[string, struct{}]])
	server := policies(c.RegistryServerPolicies)
	client := policies(c.RegistryClientPolicies)
	manager := chain.NewServer(ctx, identity.Tokens,
		chain.WithName(c.Name),
		chain.WithURL(publicURL(c.ListenOn).String()),
		chain.WithRegistry(&c.RegistryURL),
		chain.WithForwarderServiceName(c.ForwarderNetworkServiceName),
		chain.WithDialTimeout(c.DialTimeout),
		chain.WithDialOptions(identity.DialOptions()...),
		// The manager opens what a mechanism names and passes it on: only what came
		// as a descriptor may be named by who is on the other side of a connection.
		chain.WithAuthorizeServer(next.NewNetworkServiceServer(
			descriptors.NewServer(),
			authorize.NewServer(authorize.WithSpiffeIDConnectionMap(owners)),
		)),
		chain.WithAuthorizeMonitorConnectionServer(monitorauthorize.NewMonitorConnectionServer(monitorauthorize.WithSpiffeIDConnectionMap(owners))),
		chain.WithAuthorizeNSRegistryServer(registryauthorize.NewNetworkServiceRegistryServer(server)),
		chain.WithAuthorizeNSERegistryServer(registryauthorize.NewNetworkServiceEndpointRegistryServer(server)),
		chain.WithAuthorizeNSRegistryClient(registryauthorize.NewNetworkServiceRegistryClient(client)),
		chain.WithAuthorizeNSERegistryClient(registryauthorize.NewNetworkServiceEndpointRegistryClient(client)),
	)

	grpcServer := grpc.NewServer(identity.ServerOptions()...)
	manager.Register(grpcServer)
	wait, err := service.Serve(ctx, grpcServer, fail, service.Pointers(c.ListenOn)...)
	if err != nil {
		return err
	}
	defer wait() // ctx has ended by then
	log.FromContext(ctx).Infof("startup completed in %v", time.Since(started))
	return service.Wait(ctx)
}

func policies(paths []string) registryauthorize.Option {
	return registryauthorize.WithPolicies(paths...)
}

// publicURL is the URL by which other nodes reach this one: the first that is not a
// unix socket, with an address of the node in place of a missing host.
func publicURL(urls []url.URL) *url.URL {
	public := urls[0]
	for _, u := range urls {
		if u.Scheme == "tcp" {
			public = u
			break
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = nil
	}
	return listenonurl.GetPublicURL(addrs, &public)
}
