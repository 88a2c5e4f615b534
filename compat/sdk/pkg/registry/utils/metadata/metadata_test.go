// SPDX-License-Identifier: Apache-2.0

package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/registry/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/registry/utils/metadata"
)

type ns = registry.NetworkService

// count counts the calls in the store of each name.
type count struct {
	either.PassNSClient
	last int
	fail bool
}

func (c *count) bump(ctx context.Context) {
	store := metadata.Map(ctx, metadata.IsClient(c))
	n, _ := store.Load("calls")
	c.last, _ = n.(int)
	c.last++
	store.Store("calls", c.last)
}

func (c *count) Register(ctx context.Context, in *ns, _ ...grpc.CallOption) (*ns, error) {
	c.bump(ctx)
	if c.fail {
		return nil, errors.New("refused")
	}
	return in, nil
}

func (c *count) Unregister(ctx context.Context, _ *ns, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	c.bump(ctx)
	return new(emptypb.Empty), nil
}

func TestStoreLivesFromRegisterToUnregister(t *testing.T) {
	ctx := context.Background()
	c := new(count)
	client := next.NewNetworkServiceRegistryClient(metadata.NewNetworkServiceClient(), c)
	register := func(name string) int {
		_, _ = client.Register(ctx, &ns{Name: name})
		return c.last
	}
	c.fail = true
	require.Equal(t, 1, register("a"))
	require.Equal(t, 1, register("a"), "what was not registered has no store")
	c.fail = false
	require.Equal(t, 1, register("a"))
	require.Equal(t, 2, register("a"))
	require.Equal(t, 1, register("b"))
	_, err := client.Unregister(ctx, &ns{Name: "a"})
	require.NoError(t, err)
	require.Equal(t, 3, c.last, "the Unregister still has it")
	require.Equal(t, 1, register("a"))
}

func TestSidesDoNotMix(t *testing.T) {
	require.True(t, metadata.IsClient(new(count)))
	require.False(t, metadata.IsClient(adapters.NetworkServiceClientToServer(new(count))))
	require.Panics(t, func() { metadata.Map(context.Background(), true) })
	require.Panics(t, func() { metadata.Map(context.Background(), false) })
}
