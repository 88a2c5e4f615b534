// SPDX-License-Identifier: Apache-2.0

package nsc

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientinfo"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/excludedprefixes"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/heal"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	kernelmechanism "github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/retry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/upstreamrefresh"
	"github.com/networkservicemesh/sdk/pkg/tools/log"

	"github.com/nsm-afxdp/forwarder/internal/podcontrol"
	"github.com/nsm-afxdp/forwarder/internal/podmemif"
	"github.com/nsm-afxdp/forwarder/internal/resolvconf"
	"github.com/nsm-afxdp/forwarder/internal/service"
)

// Program is the command.
func Program() service.Program {
	c := new(Config)
	return service.Program{
		Name:  "nsc",
		Short: "connect this pod to network services",
		About: `
For each of NSM_NETWORK_SERVICES the pod gets a network interface to an endpoint of
that service, for as long as the program runs; dead endpoints are replaced. It runs
in the pod's network namespace. Connections that an earlier run left are taken over.
The interface is one of the kernel, or a memif with an IP stack in this process.`,
		Config:   c,
		Run:      func(ctx context.Context) error { return Run(ctx, c) },
		Commands: podcontrol.Commands(podcontrol.ClientSocket),
	}
}

// Run connects the pod, keeps it connected until ctx ends, and closes the connections.
func Run(ctx context.Context, c *Config) (err error) {
	// First of all: an earlier run may have been killed.
	restored, restoreErr := resolvconf.Restore(resolvconf.Path)
	ctx, identity, stop, err := c.Start(ctx, c.Name)
	if err != nil {
		return err
	}
	defer stop()
	if restored {
		log.FromContext(ctx).Warnf("put %s back, which an earlier run had left changed", resolvconf.Path)
	}
	if restoreErr != nil {
		log.FromContext(ctx).Warnf("look for what an earlier run left: %v", restoreErr)
	}

	requests, err := c.requests()
	if err != nil {
		return err
	}
	adopted, err := c.findExisting(ctx, identity, requests)
	if err != nil && ctx.Err() == nil {
		log.FromContext(ctx).Warnf("start with new connections: %v", err)
	}
	if adopted > 0 {
		log.FromContext(ctx).Infof("going on with %d existing connections", adopted)
	}

	// The chain outlives ctx, to close connections when that has ended.
	chainCtx, stopChain := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChain()
	address, _ := netip.ParseAddrPort(c.LocalDNSServerAddress) // checked by Validate if enabled
	names := newNames(address, resolvconf.Path)
	defer func() {
		if restoreErr := names.restore(); err == nil {
			err = restoreErr
		}
	}()
	memifs := &podmemif.Connections{NegotiateOnly: !c.MemifStack}
	defer memifs.Close()
	commands, err := podcontrol.Listen(podcontrol.ClientSocket, memifs.Lookup)
	if err != nil {
		log.FromContext(ctx).Warnf("commands such as nsc ping use the kernel only: %v", err)
	} else {
		defer commands.Close()
	}
	connections := &connections{client: c.newClient(chainCtx, identity, names, memifs), timeout: c.RequestTimeout}
	defer connections.close(chainCtx)

	started := time.Now()
	for _, request := range requests {
		if err := connections.request(ctx, request); err != nil {
			if ctx.Err() != nil {
				return service.Wait(ctx)
			}
			return err
		}
	}
	log.FromContext(ctx).Infof("all connections are up after %v", time.Since(started))
	return service.Wait(ctx)
}

func (c *Config) newClient(ctx context.Context, identity *service.Identity, names *names, memifs *podmemif.Connections) networkservice.NetworkServiceClient {
	var healing []heal.Option
	if c.LivenessCheckEnabled {
		healing = []heal.Option{
			heal.WithLivenessCheck(memifs.Alive),
			heal.WithLivenessCheckInterval(c.LivenessCheckInterval),
			heal.WithLivenessCheckTimeout(c.LivenessCheckTimeout),
		}
	}
	additional := []networkservice.NetworkServiceClient{
		clientinfo.NewClient(),
		upstreamrefresh.NewClient(ctx),
		mechanisms.NewClient(map[string]networkservice.NetworkServiceClient{
			kernel.MECHANISM: kernelmechanism.NewClient(),
			memif.MECHANISM:  podmemif.NewClient(memifs),
		}),
		sendfd.NewClient(),
		excludedprefixes.NewClient(excludedprefixes.WithAwarenessGroups(c.AwarenessGroups)),
	}
	if c.LocalDNSServerEnabled {
		additional = append(additional, names)
	}
	return client.NewClient(ctx,
		client.WithName(c.Name),
		client.WithClientURL(&c.ConnectTo),
		client.WithDialTimeout(c.DialTimeout),
		client.WithDialOptions(identity.DialOptions()...),
		client.WithAuthorizeClient(authorize.NewClient()),
		client.WithHealClient(heal.NewClient(ctx, healing...)),
		client.WithAdditionalFunctionality(additional...),
	)
}

// connections are those of the pod.
type connections struct {
	client  networkservice.NetworkServiceClient
	timeout time.Duration
	open    []*networkservice.Connection
}

// request tries until the connection is made or ctx ends.
func (c *connections) request(ctx context.Context, request *networkservice.NetworkServiceRequest) error {
	conn, err := c.refreshExisting(ctx, request)
	if conn == nil {
		conn, err = retry.NewClient(c.client, retry.WithTryTimeout(c.timeout)).Request(ctx, request)
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", request.GetConnection().GetNetworkService(), err)
	}
	log.FromContext(ctx).Infof("connected to %s: interface %s, addresses %v, endpoint %s",
		conn.GetNetworkService(), interfaceName(conn.GetMechanism()),
		conn.GetContext().GetIpContext().GetSrcIpAddrs(), conn.GetNetworkServiceEndpointName())
	c.open = append(c.open, conn)
	return nil
}

// refreshExisting takes an existing connection over, if the request has one. If that
// does not work, the connection is closed and the request is for a new one.
func (c *connections) refreshExisting(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	existing := request.GetConnection()
	if existing.GetPath() == nil {
		return nil, nil
	}
	tryCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.client.Request(tryCtx, request.Clone())
	if err == nil {
		return conn, nil
	}
	log.FromContext(ctx).Warnf("existing connection %s cannot be taken over: %v", existing.GetId(), err)
	if _, err := c.client.Close(tryCtx, existing.Clone()); err != nil {
		log.FromContext(ctx).Warnf("close existing connection %s: %v", existing.GetId(), err)
	}
	request.Connection = &networkservice.Connection{
		Id: existing.GetId(), NetworkService: existing.GetNetworkService(), Labels: existing.GetLabels(),
	}
	return nil, err
}

// close closes all connections at the same time.
func (c *connections) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var closing sync.WaitGroup
	for _, conn := range c.open {
		closing.Go(func() {
			if _, err := c.client.Close(ctx, conn.Clone()); err != nil {
				log.FromContext(ctx).Warnf("close connection %s: %v", conn.GetId(), err)
				return
			}
			log.FromContext(ctx).Infof("closed connection %s", conn.GetId())
		})
	}
	closing.Wait()
}
