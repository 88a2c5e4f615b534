// SPDX-License-Identifier: Apache-2.0

// Package forwarder is the forwarder's chain: every element of it, in order.
//
// A request goes down the server half, through the client half to the next
// hop, and comes back. Interfaces and tunnels are made on the way back, so
// there a later element acts earlier: the mechanisms note the ports, pinhole
// opens the classifier, xconnect joins the ports and connectioncontext
// configures the interfaces. A close goes down only, and undoes in the
// opposite order.
package forwarder

import (
	"context"
	"maps"
	"slices"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/client"
	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/discover"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/filtermechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismpriority"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/recvfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/sendfd"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismtranslation"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/roundrobin"
	registryclient "github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	registryrecvfd "github.com/networkservicemesh/sdk/pkg/registry/common/recvfd"
	"github.com/networkservicemesh/sdk/pkg/tools/token"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/connectioncontext"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/descriptors"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/kernel"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/memif"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/unsupported"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vxlan"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/wireguard"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/nsmonitor"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/pinhole"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/xconnect"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// NewServer makes the forwarder's endpoint on a plane. The chain lives until
// ctx ends.
func NewServer(
	ctx context.Context, tokens token.GeneratorFunc, p plane.Plane, underlay Underlay, options ...Option,
) (endpoint.Endpoint, error) {
	o := newOptions(options)
	monitor, err := nsmonitor.NewServer(ctx)
	if err != nil {
		return nil, err
	}

	served := serverMechanisms(p, underlay, o)
	elements := []networkservice.NetworkServiceServer{
		descriptors.NewServer(),
		recvfd.NewServer(),
		sendfd.NewServer(),
		unsupported.NewServer(slices.Collect(maps.Keys(served)), o.refusals),
		discover.NewServer(o.networkServices(ctx), o.endpoints(ctx)),
		roundrobin.NewServer(),
	}
	if o.collector != nil {
		elements = append(elements, o.collector)
	}
	elements = append(elements,
		monitor,
		connectioncontext.NewServer(),
		xconnect.NewServer(p),
	)
	if o.classifier != nil {
		elements = append(elements, pinhole.NewServer(o.classifier))
	}
	elements = append(elements,
		mechanisms.NewServer(served),
		connect.NewServer(newClient(ctx, p, underlay, o)),
	)
	return endpoint.NewServer(ctx, tokens,
		endpoint.WithName(o.name),
		endpoint.WithAuthorizeServer(o.authorizeServer),
		endpoint.WithAuthorizeMonitorConnectionServer(o.authorizeMonitor),
		endpoint.WithAdditionalFunctionality(elements...),
	), nil
}

// newClient is the half of the chain that faces the endpoint.
func newClient(ctx context.Context, p plane.Plane, underlay Underlay, o *options) networkservice.NetworkServiceClient {
	elements := []networkservice.NetworkServiceClient{
		mechanismtranslation.NewClient(),
	}
	elements = append(elements, clientMechanisms(p, underlay, o)...)
	elements = append(elements,
		filtermechanisms.NewClient(),
		unsupported.NewClient(o.refusals),
		mechanismpriority.NewClient(o.mechanismPriority...),
		recvfd.NewClient(),
		sendfd.NewClient(),
		descriptors.NewClient(),
	)
	return client.NewClient(ctx,
		client.WithName(o.name),
		client.WithoutRefresh(),
		client.WithDialTimeout(o.dialTimeout),
		client.WithDialOptions(o.dialOptions...),
		client.WithAdditionalFunctionality(elements...),
	)
}

// serverMechanisms are those that a client or another forwarder may ask us
// for: what the plane can make, and a tunnel only where there is an underlay.
func serverMechanisms(p plane.Plane, underlay Underlay, o *options) map[string]networkservice.NetworkServiceServer {
	kinds := kindsOf(p)
	m := make(map[string]networkservice.NetworkServiceServer)
	if kinds[plane.KindMemif] {
		m[memifmech.MECHANISM] = memif.NewServer(o.socketFolder)
	}
	if kinds[plane.KindKernel] {
		m[kernelmech.MECHANISM] = kernel.NewServer()
	}
	if kinds[plane.KindVXLAN] && underlay != nil {
		m[vxlanmech.MECHANISM] = vxlan.NewServer(underlay, plane.DevicesOf(p), o.vxlanPort)
	}
	if kinds[plane.KindWireGuard] && underlay != nil {
		m[wgmech.MECHANISM] = wireguard.NewServer(underlay, plane.DevicesOf(p))
	}
	return m
}

// clientMechanisms are those that we offer, best first as in the stock
// forwarder. An endpoint on this node is left with MEMIF and KERNEL of them, one
// elsewhere or another forwarder with VXLAN or WIREGUARD, as the payload wants,
// and VLAN: filtermechanisms takes out the others.
func clientMechanisms(p plane.Plane, underlay Underlay, o *options) []networkservice.NetworkServiceClient {
	kinds := kindsOf(p)
	var m []networkservice.NetworkServiceClient
	if kinds[plane.KindMemif] {
		m = append(m, memif.NewClient())
	}
	if kinds[plane.KindKernel] {
		m = append(m, kernel.NewClient())
	}
	if kinds[plane.KindVXLAN] && underlay != nil {
		m = append(m, vxlan.NewClient(underlay, o.vxlanPort))
	}
	if kinds[plane.KindWireGuard] && underlay != nil {
		m = append(m, wireguard.NewClient(underlay, plane.DevicesOf(p)))
	}
	if kinds[plane.KindVLAN] && underlay != nil {
		m = append(m, vlan.NewClient(underlay, o.devices, payloadsOf(p, plane.KindVLAN)...))
	}
	return m
}

var payloads = []plane.Payload{plane.Ethernet, plane.IP}

func kindsOf(p plane.Plane) map[plane.Kind]bool {
	kinds := make(map[plane.Kind]bool)
	for _, payload := range payloads {
		for _, k := range p.Kinds(payload) {
			kinds[k] = true
		}
	}
	return kinds
}

// payloadsOf are those that the plane carries over ports of a kind.
func payloadsOf(p plane.Plane, kind plane.Kind) []plane.Payload {
	return slices.DeleteFunc(slices.Clone(payloads), func(payload plane.Payload) bool {
		return !slices.Contains(p.Kinds(payload), kind)
	})
}

func (o *options) networkServices(ctx context.Context) registryapi.NetworkServiceRegistryClient {
	return registryclient.NewNetworkServiceRegistryClient(ctx,
		registryclient.WithClientURL(o.connectTo),
		registryclient.WithDialOptions(o.dialOptions...),
		registryclient.WithAuthorizeNSRegistryClient(o.authorizeNS),
	)
}

func (o *options) endpoints(ctx context.Context) registryapi.NetworkServiceEndpointRegistryClient {
	return registryclient.NewNetworkServiceEndpointRegistryClient(ctx,
		registryclient.WithClientURL(o.connectTo),
		registryclient.WithDialOptions(o.dialOptions...),
		// An endpoint on this node is found with the descriptor of its socket.
		registryclient.WithNSEAdditionalFunctionality(registryrecvfd.NewNetworkServiceEndpointRegistryClient()),
		registryclient.WithAuthorizeNSERegistryClient(o.authorizeNSE),
	)
}
