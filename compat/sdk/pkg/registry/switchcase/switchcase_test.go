// SPDX-License-Identifier: Apache-2.0

package switchcase_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/switchcase"
	"github.com/networkservicemesh/sdk/pkg/tools/interdomain"
)

func TestTheFirstCaseThatFitsIsTaken(t *testing.T) {
	ctx := context.Background()
	elsewhere, here, rest := memory.NewNetworkServiceRegistryServer(), memory.NewNetworkServiceRegistryServer(), memory.NewNetworkServiceRegistryServer()
	server := next.NewNetworkServiceRegistryServer(
		switchcase.NewNetworkServiceRegistryServer(
			switchcase.NSServerCase{
				Condition: func(_ context.Context, ns *registry.NetworkService) bool { return interdomain.Is(ns.GetName()) },
				Action:    elsewhere,
			},
			switchcase.NSServerCase{
				Condition: func(_ context.Context, ns *registry.NetworkService) bool { return ns.GetName() != "rest" },
				Action:    here,
			},
		), rest)
	count := func(server registry.NetworkServiceRegistryServer, name string) int {
		stream, err := adapters.NetworkServiceServerToClient(server).Find(ctx, &registry.NetworkServiceQuery{NetworkService: &registry.NetworkService{Name: name}})
		require.NoError(t, err)
		return len(registry.ReadNetworkServiceList(stream))
	}
	for name, in := range map[string]registry.NetworkServiceRegistryServer{"ns@domain": elsewhere, "ns": here, "rest": rest} {
		_, err := server.Register(ctx, &registry.NetworkService{Name: name})
		require.NoError(t, err)
		require.Equal(t, 1, count(in, name), name)
		require.Positive(t, count(server, name), name)
		_, err = server.Unregister(ctx, &registry.NetworkService{Name: name})
		require.NoError(t, err)
		require.Zero(t, count(in, name), name)
	}
}

func TestClientsToo(t *testing.T) {
	ctx := context.Background()
	store := memory.NewNetworkServiceEndpointRegistryServer()
	client := switchcase.NewNetworkServiceEndpointRegistryClient(switchcase.NSEClientCase{
		Condition: func(_ context.Context, nse *registry.NetworkServiceEndpoint) bool { return nse.GetName() == "nse" },
		Action:    adapters.NetworkServiceEndpointServerToClient(store),
	})
	find := func(name string) int {
		stream, err := client.Find(ctx, &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: &registry.NetworkServiceEndpoint{Name: name}})
		require.NoError(t, err)
		return len(registry.ReadNetworkServiceEndpointList(stream))
	}
	for _, name := range []string{"nse", "other"} {
		_, err := client.Register(ctx, &registry.NetworkServiceEndpoint{Name: name})
		require.NoError(t, err)
	}
	require.Equal(t, 1, find("nse"))
	require.Zero(t, find("other"), "nobody keeps it")
}
