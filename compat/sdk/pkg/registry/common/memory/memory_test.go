// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/common/memory"
	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
)

func nse(name string, services ...string) *registry.NetworkServiceEndpoint {
	return &registry.NetworkServiceEndpoint{Name: name, NetworkServiceNames: services, Url: "tcp://10.0.0.1:5001"}
}

func query(nse *registry.NetworkServiceEndpoint, watch bool) *registry.NetworkServiceEndpointQuery {
	return &registry.NetworkServiceEndpointQuery{NetworkServiceEndpoint: nse, Watch: watch}
}

func find(t *testing.T, client registry.NetworkServiceEndpointRegistryClient, asked *registry.NetworkServiceEndpoint) []string {
	t.Helper()
	stream, err := client.Find(context.Background(), query(asked, false))
	require.NoError(t, err)
	var names []string
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		require.False(t, response.GetDeleted())
		names = append(names, response.GetNetworkServiceEndpoint().GetName())
	}
}

func TestFind(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx := context.Background()
	client := adapters.NetworkServiceEndpointServerToClient(memory.NewNetworkServiceEndpointRegistryServer())
	for _, e := range []*registry.NetworkServiceEndpoint{nse("c", "x"), nse("a", "x", "y"), nse("b", "y")} {
		_, err := client.Register(ctx, e)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"c", "a", "b"}, find(t, client, nil), "all, in the order of registration")
	require.Equal(t, []string{"a", "b"}, find(t, client, &registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"y"}}))
	require.Equal(t, []string{"a"}, find(t, client, &registry.NetworkServiceEndpoint{Name: "a"}))
	require.Len(t, find(t, client, &registry.NetworkServiceEndpoint{Url: "10.0.0.1"}), 3, "url is a substring")
	require.Empty(t, find(t, client, &registry.NetworkServiceEndpoint{Url: "10.0.0.2"}))

	_, err := client.Unregister(ctx, nse("a"))
	require.NoError(t, err)
	require.Equal(t, []string{"c", "b"}, find(t, client, nil))
	_, err = client.Unregister(ctx, nse("a"))
	require.NoError(t, err, "to unregister twice is no error")
}

func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := adapters.NetworkServiceEndpointServerToClient(memory.NewNetworkServiceEndpointRegistryServer())
	_, err := client.Register(ctx, nse("before", "x"))
	require.NoError(t, err)

	stream, err := client.Find(ctx, query(&registry.NetworkServiceEndpoint{NetworkServiceNames: []string{"x"}}, true))
	require.NoError(t, err)
	receive := func() (string, bool) {
		response, err := stream.Recv()
		require.NoError(t, err)
		return response.GetNetworkServiceEndpoint().GetName(), response.GetDeleted()
	}
	for _, step := range []struct {
		do      func() error
		name    string
		deleted bool
	}{
		{func() error { return nil }, "before", false},
		{func() error { _, err := client.Register(ctx, nse("other", "y")); return err }, "", false},
		{func() error { _, err := client.Register(ctx, nse("after", "x")); return err }, "after", false},
		{func() error { _, err := client.Register(ctx, nse("before", "x")); return err }, "before", false},
		{func() error { _, err := client.Unregister(ctx, nse("other")); return err }, "", false},
		{func() error { _, err := client.Unregister(ctx, nse("before")); return err }, "before", true},
	} {
		require.NoError(t, step.do())
		if step.name != "" {
			name, deleted := receive()
			require.Equal(t, step.name, name)
			require.Equal(t, step.deleted, deleted)
		}
	}
	cancel()
	_, err = stream.Recv()
	require.Error(t, err)
}

func TestSlowWatcherHoldsNobodyUp(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := adapters.NetworkServiceEndpointServerToClient(memory.NewNetworkServiceEndpointRegistryServer(memory.WithEventChannelSize(1)))
	stream, err := client.Find(ctx, query(nil, true))
	require.NoError(t, err)

	const many = 500
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range many {
			_, _ = client.Register(ctx, nse(fmt.Sprint(i)))
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		require.Fail(t, "registration waits for the watcher")
	}
	seen := map[string]bool{}
	for len(seen) < many {
		response, err := stream.Recv()
		require.NoError(t, err)
		seen[response.GetNetworkServiceEndpoint().GetName()] = true
	}
}

func TestWhatIsStoredCannotBeChangedFromOutside(t *testing.T) {
	ctx := context.Background()
	client := adapters.NetworkServiceServerToClient(memory.NewNetworkServiceRegistryServer())
	ns := &registry.NetworkService{Name: "ns", Payload: "IP"}
	registered, err := client.Register(ctx, ns)
	require.NoError(t, err)
	ns.Payload, registered.Payload = "changed", "changed"

	for range 2 {
		stream, err := client.Find(ctx, &registry.NetworkServiceQuery{NetworkService: &registry.NetworkService{Name: "ns"}})
		require.NoError(t, err)
		list := registry.ReadNetworkServiceList(stream)
		require.Len(t, list, 1)
		require.Equal(t, "IP", list[0].GetPayload())
		list[0].Payload = "changed"
	}
}

type refuse struct {
	registry.NetworkServiceRegistryServer
}

func (refuse) Register(context.Context, *registry.NetworkService) (*registry.NetworkService, error) {
	return nil, errors.New("refused")
}

func (refuse) Find(*registry.NetworkServiceQuery, registry.NetworkServiceRegistry_FindServer) error {
	return nil
}

func TestWhatTheNextElementRefusesIsNotStored(t *testing.T) {
	ctx := context.Background()
	client := adapters.NetworkServiceServerToClient(next.NewNetworkServiceRegistryServer(memory.NewNetworkServiceRegistryServer(), refuse{}))
	_, err := client.Register(ctx, &registry.NetworkService{Name: "ns"})
	require.Error(t, err)
	stream, err := client.Find(ctx, &registry.NetworkServiceQuery{NetworkService: new(registry.NetworkService)})
	require.NoError(t, err)
	require.Empty(t, registry.ReadNetworkServiceList(stream))
}
