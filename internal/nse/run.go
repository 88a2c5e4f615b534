// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/noop"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	kernelmechanism "github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/onidle"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/policyroute"
	"github.com/networkservicemesh/sdk/pkg/networkservice/connectioncontext/dnscontext"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/groupipam"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/point2pointipam"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/strictipam"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/podcontrol"
	"github.com/nsm-afxdp/forwarder/internal/podmemif"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Program is the command.
func Program() service.Program {
	c := new(Config)
	return service.Program{
		Name:  "nse",
		Short: "offer network services from this pod",
		About: `
Every client that connects gets a network interface to this pod and a pair of
addresses. It runs in the pod's network namespace, in which the forwarder of the
node makes the interfaces.`,
		Config:   c,
		Run:      func(ctx context.Context) error { return Run(ctx, c) },
		Commands: podcontrol.Commands(podcontrol.EndpointSocket),
	}
}

// Run serves until ctx ends, or until nobody has been connected for IdleTimeout.
func Run(ctx context.Context, c *Config) error {
	started := time.Now()
	ctx, identity, stop, err := c.Start(ctx, c.Name)
	if err != nil {
		return err
	}
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	dir, err := os.MkdirTemp("", c.Name)
	if err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	listenOn := &url.URL{Scheme: "unix", Path: filepath.Join(dir, "listen.on")}
	if c.isVLAN() {
		listenOn = c.vlanListenOn()
	}

	pod := newPod(ctx, c)
	defer pod.close()
	commands, err := podcontrol.Listen(podcontrol.EndpointSocket, pod.memifs.Lookup)
	if err != nil {
		log.FromContext(ctx).Warnf("commands such as nse ping use the kernel only: %v", err)
	} else {
		defer commands.Close()
	}
	responder := endpoint.NewServer(ctx, identity.Tokens,
		endpoint.WithName(c.Name),
		endpoint.WithAuthorizeServer(authorize.NewServer()),
		endpoint.WithAdditionalFunctionality(c.elements(ctx, fail, pod)...),
	)
	server := grpc.NewServer(identity.ServerOptions()...)
	responder.Register(server)
	wait, err := service.Serve(ctx, server, fail, listenOn)
	if err != nil {
		return err
	}
	defer func() {
		fail(nil)
		wait()
	}()

	unregister, err := c.register(ctx, identity, publicURL(listenOn))
	if err != nil {
		return err
	}
	defer unregister()
	log.FromContext(ctx).Infof("startup completed in %v", time.Since(started))
	return service.Wait(ctx)
}

// elements are what this endpoint adds to the chain that all endpoints have.
func (c *Config) elements(ctx context.Context, end context.CancelCauseFunc, pod *pod) []networkservice.NetworkServiceServer {
	var elements []networkservice.NetworkServiceServer
	if c.IdleTimeout > 0 {
		elements = append(elements, onidle.NewServer(ctx, func() {
			log.FromContext(ctx).Infof("nobody has been connected for %v", c.IdleTimeout)
			end(nil)
		}, c.IdleTimeout))
	}
	if c.isVLAN() {
		return append(elements, c.vlanElements()...)
	}
	return append(elements,
		groupipam.NewServer(c.CIDRPrefix, groupipam.WithCustomIPAMServer(c.ipam)),
		policyroute.NewServer(watchPolicies(ctx, c.PBRConfigPath)),
		mechanisms.NewServer(c.mechanisms(pod)),
		dnscontext.NewServer(c.DNSConfigs...),
		sendfd.NewServer(),
	)
}

// mechanisms are the elements for what the endpoint takes.
func (c *Config) mechanisms(pod *pod) map[string]networkservice.NetworkServiceServer {
	elements := map[string]networkservice.NetworkServiceServer{noop.MECHANISM: null.NewServer()}
	for _, mechanism := range c.Mechanism {
		switch strings.ToLower(mechanism) {
		case kernelName:
			elements[kernel.MECHANISM] = kernelmechanism.NewServer()
			if c.INETServices {
				elements[kernel.MECHANISM] = chain.NewNetworkServiceServer(kernelmechanism.NewServer(), pod.newServicesServer())
			}
		case memifName:
			elements[memif.MECHANISM] = podmemif.NewServer(&pod.memifs)
		}
	}
	return elements
}

func (c *Config) ipam(prefixes ...*net.IPNet) networkservice.NetworkServiceServer {
	if c.IPAMPolicy == strict {
		return strictipam.NewServer(point2pointipam.NewServer, prefixes...)
	}
	return point2pointipam.NewServer(prefixes...)
}

// registration is what others see of the endpoint.
func (c *Config) registration(listenOn *url.URL) *registryapi.NetworkServiceEndpoint {
	endpoint := &registryapi.NetworkServiceEndpoint{
		Name:                 c.Name,
		NetworkServiceNames:  c.ServiceNames,
		NetworkServiceLabels: make(map[string]*registryapi.NetworkServiceLabels),
		Url:                  listenOn.String(),
	}
	for _, name := range c.ServiceNames {
		endpoint.NetworkServiceLabels[name] = &registryapi.NetworkServiceLabels{Labels: c.Labels}
	}
	c.labelServices(endpoint)
	return endpoint
}
