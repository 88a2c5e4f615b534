// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
)

// server serves without embedding anything, as implementations of this API do.
type server struct{}

func (server) Request(context.Context, *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return nil, nil
}
func (server) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return nil, nil
}
func (server) MonitorConnections(*networkservice.MonitorScopeSelector, networkservice.MonitorConnection_MonitorConnectionsServer) error {
	return nil
}

func TestServiceNamesAreThoseThatAreServed(t *testing.T) {
	for _, test := range []struct {
		name string
		impl any
		want []string
	}{
		{"nothing", struct{}{}, []string{"before"}},
		{"endpoint", server{}, []string{"before", "networkservice.NetworkService", "connection.MonitorConnection"}},
		{"client", networkservice.NewNetworkServiceClient(nil), []string{"before", "networkservice.NetworkService"}},
		{"monitor client", networkservice.NewMonitorConnectionClient(nil), []string{"before", "connection.MonitorConnection"}},
		{"services", registry.NewNetworkServiceRegistryClient(nil), []string{"before", "registry.NetworkServiceRegistry"}},
		{"services served", &registry.UnimplementedNetworkServiceRegistryServer{}, []string{"before", "registry.NetworkServiceRegistry"}},
		{"endpoints", registry.NewNetworkServiceEndpointRegistryClient(nil), []string{"before", "registry.NetworkServiceEndpointRegistry"}},
		{"endpoints served", &registry.UnimplementedNetworkServiceEndpointRegistryServer{}, []string{"before", "registry.NetworkServiceEndpointRegistry"}},
	} {
		if got := api.ServiceNames(test.impl, "before"); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestServersRegisterUnderTheirWireNames(t *testing.T) {
	s := grpc.NewServer()
	networkservice.RegisterNetworkServiceServer(s, server{})
	networkservice.RegisterMonitorConnectionServer(s, server{})
	registry.RegisterNetworkServiceRegistryServer(s, &registry.UnimplementedNetworkServiceRegistryServer{})
	registry.RegisterNetworkServiceEndpointRegistryServer(s, &registry.UnimplementedNetworkServiceEndpointRegistryServer{})
	info := s.GetServiceInfo()
	for _, name := range []string{
		"networkservice.NetworkService", "connection.MonitorConnection",
		"registry.NetworkServiceRegistry", "registry.NetworkServiceEndpointRegistry",
	} {
		if len(info[name].Methods) == 0 {
			t.Errorf("%s is not served", name)
		}
	}
}
