// SPDX-License-Identifier: Apache-2.0

package clientinfo_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/clientinfo"
)

func TestEveryServiceIsLabelled(t *testing.T) {
	t.Setenv("NODE_NAME", "node-a")
	in := &registry.NetworkServiceEndpoint{
		Name:                "nse",
		NetworkServiceNames: []string{"bare", "labelled"},
		NetworkServiceLabels: map[string]*registry.NetworkServiceLabels{
			"labelled": {Labels: map[string]string{"app": "gateway"}},
			"named":    {Labels: map[string]string{"nodeName": "mine"}},
		},
	}
	before := in.Clone()
	server, err := clientinfo.NewNetworkServiceEndpointRegistryServer().Register(context.Background(), in)
	require.NoError(t, err)
	client, err := clientinfo.NewNetworkServiceEndpointRegistryClient().Register(context.Background(), in)
	require.NoError(t, err)
	for _, out := range []*registry.NetworkServiceEndpoint{server, client} {
		require.Equal(t, "node-a", out.GetNetworkServiceLabels()["bare"].GetLabels()["nodeName"])
		require.Equal(t, "node-a", out.GetNetworkServiceLabels()["labelled"].GetLabels()["nodeName"])
		require.Equal(t, "gateway", out.GetNetworkServiceLabels()["labelled"].GetLabels()["app"])
		require.Equal(t, "mine", out.GetNetworkServiceLabels()["named"].GetLabels()["nodeName"])
	}
	require.Equal(t, before.String(), in.String())
}
