// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	registryapi "github.com/networkservicemesh/api/pkg/api/registry"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/connectioncontext/dnscontext"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/groupipam"
	"github.com/networkservicemesh/sdk/pkg/tools/listenonurl"
)

// vlanElements are what a remote VLAN endpoint adds to the chain. It moves no
// packets: it says which VLAN a client's connection is on, and gives it an
// address there. The client's own forwarder does the rest.
func (c *Config) vlanElements() []networkservice.NetworkServiceServer {
	return []networkservice.NetworkServiceServer{
		groupipam.NewServer(c.CIDRPrefix, groupipam.WithCustomIPAMServer(newVLANIPAM)),
		mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
			vlanmech.MECHANISM: newVLANServer(c.Services),
		}),
		dnscontext.NewServer(c.DNSConfigs...),
	}
}

type vlanServer struct {
	services map[string]vlanService
}

// newVLANServer answers with the VLAN of the connection's network service, and
// marks the connection with the label via.
func newVLANServer(services []vlanService) networkservice.NetworkServiceServer {
	s := &vlanServer{services: make(map[string]vlanService)}
	for _, service := range services {
		s.services[service.Name] = service
	}
	return s
}

func (s *vlanServer) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn := request.GetConnection()
	service, ok := s.services[conn.GetNetworkService()]
	if !ok {
		return nil, fmt.Errorf("vlan mechanism: network service %q is not served here", conn.GetNetworkService())
	}
	vlanmech.ToMechanism(conn.GetMechanism()).SetVlanID(uint32(service.ID))
	if conn.GetLabels() == nil {
		conn.Labels = make(map[string]string)
	}
	conn.GetLabels()["via"] = service.Via
	// The device that the forwarder chooses by the label sets the MTU.
	if conn.GetContext() == nil {
		conn.Context = &networkservice.ConnectionContext{}
	}
	conn.GetContext().MTU = 0
	return next.Server(ctx).Request(ctx, request)
}

func (s *vlanServer) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

// publicURL is where forwarders reach an endpoint that listens on TCP: a host
// that is left out, or all of them, becomes an address of this pod.
func publicURL(listenOn *url.URL) *url.URL {
	if ip := net.ParseIP(listenOn.Hostname()); listenOn.Scheme != "tcp" || (listenOn.Hostname() != "" && !ip.IsUnspecified()) {
		return listenOn
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return listenOn
	}
	return listenonurl.GetPublicURL(addrs, &url.URL{Scheme: "tcp", Host: ":" + listenOn.Port()})
}

// labelServices puts the labels of VLAN services into the registration.
func (c *Config) labelServices(endpoint *registryapi.NetworkServiceEndpoint) {
	for _, s := range c.Services {
		if s.Labels != nil {
			endpoint.NetworkServiceLabels[s.Name] = &registryapi.NetworkServiceLabels{Labels: s.Labels}
		}
	}
}
