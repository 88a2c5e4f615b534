// SPDX-License-Identifier: Apache-2.0

package authorize_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/client"
	"github.com/networkservicemesh/sdk/pkg/registry/chains/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/common/authorize"
	"github.com/networkservicemesh/sdk/pkg/registry/common/retry"
)

var (
	serverPolicies = authorize.WithPolicies("etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/server/.*.rego")
	clientPolicies = authorize.WithPolicies("etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/client/.*.rego")
)

func TestOnlyTheOwnerMayChangeAResource(t *testing.T) {
	authority := sandbox.NewAuthority(t)
	identity := authority.Issue(t, "registry")
	u := sandbox.TCP(t)
	sandbox.Start(t, identity, func(ctx context.Context) func(*grpc.Server) {
		return memory.NewServer(ctx, identity.Tokens(),
			memory.WithAuthorizeNSRegistryServer(authorize.NewNetworkServiceRegistryServer(serverPolicies)),
			memory.WithAuthorizeNSERegistryServer(authorize.NewNetworkServiceEndpointRegistryServer(serverPolicies)),
		).Register
	}, u)
	as := func(name string) registry.NetworkServiceEndpointRegistryClient {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		return client.NewNetworkServiceEndpointRegistryClient(ctx,
			client.WithClientURL(u),
			client.WithDialOptions(authority.Issue(t, name).DialOptions()...),
			client.WithAuthorizeNSERegistryClient(authorize.NewNetworkServiceEndpointRegistryClient(clientPolicies)),
			client.WithNSERetryClient(retry.NewNetworkServiceEndpointRegistryClient(ctx, retry.WithTryTimeout(time.Second))),
		)
	}
	call := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
		defer cancel()
		return f(ctx)
	}
	nse := &registry.NetworkServiceEndpoint{Name: "nse", Url: "tcp://10.0.0.1"}
	owner, other := as("owner"), as("other")
	register := func(c registry.NetworkServiceEndpointRegistryClient) error {
		return call(func(ctx context.Context) error { _, err := c.Register(ctx, nse.Clone()); return err })
	}
	unregister := func(c registry.NetworkServiceEndpointRegistryClient) error {
		return call(func(ctx context.Context) error { _, err := c.Unregister(ctx, nse.Clone()); return err })
	}
	require.NoError(t, register(owner))
	require.NoError(t, register(owner), "a refresh")
	require.ErrorContains(t, register(other), "client_allowed")
	require.ErrorContains(t, unregister(other), "client_allowed")
	require.NoError(t, unregister(owner))
	require.NoError(t, register(other), "the name is free again")
}

func TestPoliciesThatCannotBeReadAreAMistake(t *testing.T) {
	require.Panics(t, func() { authorize.NewNetworkServiceRegistryServer(authorize.WithPolicies("/no/such/policy.rego")) })
}
