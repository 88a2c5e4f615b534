// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"fmt"
	"net/url"
	"time"

	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	"github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/registry/common/sendfd"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

const (
	// registerTimeout is for one attempt to register a network service.
	registerTimeout = 5 * time.Second
	// unregisterTimeout bounds what is done for others when the program ends.
	unregisterTimeout = 5 * time.Second
)

// register tells the nsmgr of the services and of the endpoint, and goes on doing so
// until the returned function is called.
func (c *Config) register(ctx context.Context, identity *service.Identity, listenOn *url.URL) (unregister func(), err error) {
	// The clients must outlive ctx, to unregister when it has ended.
	chainCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	if c.RegisterService {
		services := registryclient.NewNetworkServiceRegistryClient(chainCtx,
			registryclient.WithClientURL(&c.ConnectTo),
			registryclient.WithDialOptions(identity.DialOptions()...),
			registryclient.WithAuthorizeNSRegistryClient(authorize.NewNetworkServiceRegistryClient(authorize.WithPolicies(c.RegistryClientPolicies...))),
		)
		for _, name := range c.ServiceNames {
			if err := ensureService(ctx, services, &registryapi.NetworkService{Name: name, Payload: c.Payload}); err != nil {
				stop()
				return nil, fmt.Errorf("register network service %s at %s: %w", name, &c.ConnectTo, err)
			}
		}
	}
	endpoints := registryclient.NewNetworkServiceEndpointRegistryClient(chainCtx,
		registryclient.WithClientURL(&c.ConnectTo),
		registryclient.WithDialOptions(identity.DialOptions()...),
		registryclient.WithNSEAdditionalFunctionality(
			clientinfo.NewNetworkServiceEndpointRegistryClient(),
			sendfd.NewNetworkServiceEndpointRegistryClient(),
		),
		registryclient.WithAuthorizeNSERegistryClient(authorize.NewNetworkServiceEndpointRegistryClient(authorize.WithPolicies(c.RegistryClientPolicies...))),
	)
	registered, err := endpoints.Register(ctx, c.registration(listenOn))
	if err != nil {
		stop()
		return nil, fmt.Errorf("register endpoint %s at %s: %w", c.Name, &c.ConnectTo, err)
	}
	log.FromContext(ctx).Infof("registered as %s for %v", registered.GetName(), registered.GetNetworkServiceNames())
	return func() {
		defer stop()
		if !c.UnregisterItself {
			return
		}
		ctx, cancel := context.WithTimeout(chainCtx, unregisterTimeout)
		defer cancel()
		if _, err := endpoints.Unregister(ctx, registered); err != nil {
			log.FromContext(ctx).Warnf("unregister endpoint %s: %v", registered.GetName(), err)
		}
	}, nil
}

// ensureService registers the service unless another endpoint has done so: it belongs to
// the first that does, and the registry refuses it to others. Either may come first
// while this one tries.
func ensureService(ctx context.Context, services registryapi.NetworkServiceRegistryClient, service *registryapi.NetworkService) error {
	for {
		known, err := findService(ctx, services, service.GetName())
		if err != nil {
			log.FromContext(ctx).Warnf("look for network service %s: %v", service.GetName(), err)
		}
		if known.GetPayload() == service.GetPayload() {
			return nil
		}
		tryCtx, cancel := context.WithTimeout(ctx, registerTimeout)
		_, err = services.Register(tryCtx, service.Clone())
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if known != nil {
			return fmt.Errorf("it is registered with payload %s and cannot be changed to %s: %w", known.GetPayload(), service.GetPayload(), err)
		}
		log.FromContext(ctx).Warnf("register network service %s: %v", service.GetName(), err)
	}
}

// findService returns nil when there is no such service.
func findService(ctx context.Context, services registryapi.NetworkServiceRegistryClient, name string) (*registryapi.NetworkService, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	stream, err := services.Find(ctx, &registryapi.NetworkServiceQuery{NetworkService: &registryapi.NetworkService{Name: name}})
	if err != nil {
		return nil, err
	}
	for _, service := range registryapi.ReadNetworkServiceList(stream) {
		if service.GetName() == name {
			return service, nil
		}
	}
	return nil, nil
}
