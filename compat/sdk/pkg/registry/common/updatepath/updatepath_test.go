// SPDX-License-Identifier: Apache-2.0

package updatepath_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/registry/common/clienturl"
	"github.com/networkservicemesh/sdk/pkg/registry/common/connect"
	"github.com/networkservicemesh/sdk/pkg/registry/common/dial"
	"github.com/networkservicemesh/sdk/pkg/registry/common/grpcmetadata"
	"github.com/networkservicemesh/sdk/pkg/registry/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/registry/core/chain"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
)

// wire notes the path metadata of the last call.
type wire struct {
	either.PassNSServer
	mu      sync.Mutex
	path    string
	expires *time.Time
}

func (w *wire) Register(ctx context.Context, in *registry.NetworkService) (*registry.NetworkService, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	w.mu.Lock()
	w.path = md.Get("path")[0]
	w.expires = updatepath.ExpirationTimeFromContext(ctx)
	w.mu.Unlock()
	return next.NetworkServiceRegistryServer(ctx).Register(ctx, in)
}

// client calls u as the identity, and has no path of its own.
func client(ctx context.Context, identity *sandbox.Identity, options ...grpc.DialOption) registry.NetworkServiceRegistryClient {
	return chain.NewNetworkServiceRegistryClient(
		clientconn.NewNetworkServiceRegistryClient(),
		grpcmetadata.NewNetworkServiceRegistryClient(),
		dial.NewNetworkServiceRegistryClient(ctx, dial.WithDialOptions(append(identity.DialOptions(), options...)...)),
		connect.NewNetworkServiceRegistryClient(),
	)
}

func TestPathThroughTwoServers(t *testing.T) {
	authority := sandbox.NewAuthority(t)
	registryURL, nsmgrURL := sandbox.TCP(t), sandbox.Unix(t, "nsmgr.sock")
	atRegistry, atNSMgr := new(wire), new(wire)
	identity := authority.Issue(t, "registry")
	sandbox.Start(t, identity, func(context.Context) func(*grpc.Server) {
		server := chain.NewNetworkServiceRegistryServer(
			grpcmetadata.NewNetworkServiceRegistryServer(), updatepath.NewNetworkServiceRegistryServer(identity.Tokens()), atRegistry)
		return func(s *grpc.Server) { registry.RegisterNetworkServiceRegistryServer(s, server) }
	}, registryURL)
	nsmgr := authority.Issue(t, "nsmgr")
	sandbox.Start(t, nsmgr, func(ctx context.Context) func(*grpc.Server) {
		server := chain.NewNetworkServiceRegistryServer(
			grpcmetadata.NewNetworkServiceRegistryServer(), updatepath.NewNetworkServiceRegistryServer(nsmgr.Tokens()), atNSMgr,
			connect.NewNetworkServiceRegistryServer(chain.NewNetworkServiceRegistryClient(
				clienturl.NewNetworkServiceRegistryClient(registryURL), client(ctx, nsmgr))))
		return func(s *grpc.Server) { registry.RegisterNetworkServiceRegistryServer(s, server) }
	}, nsmgrURL)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nse := chain.NewNetworkServiceRegistryClient(clienturl.NewNetworkServiceRegistryClient(nsmgrURL), client(ctx, authority.Issue(t, "nse")))

	path := new(grpcmetadata.Path)
	ctx = grpcmetadata.PathWithContext(ctx, path)
	for range 2 { // the first call and a refresh
		ns, err := nse.Register(ctx, &registry.NetworkService{Name: "ns"})
		require.NoError(t, err)
		require.Equal(t, []string{"spiffe://test/nse", "spiffe://test/nsmgr", "spiffe://test/registry"}, ns.GetPathIds())
		require.Zero(t, path.Index, "each hop gets its own index back")
		require.Len(t, path.PathSegments, 3)
	}
	require.NotNil(t, atNSMgr.expires)
	require.InDelta(t, sandbox.TokenLifetime, time.Until(*atNSMgr.expires), float64(5*time.Second))

	var sent struct {
		Index        *uint32
		PathSegments []struct {
			Token string `json:"token"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(atRegistry.path), &sent))
	require.NotNil(t, sent.Index, "the key is Index: %s", atRegistry.path)
	require.EqualValues(t, 1, *sent.Index)
	require.Len(t, sent.PathSegments, 3)
	require.NotEmpty(t, sent.PathSegments[0].Token)
	require.Contains(t, atRegistry.path, `"PathSegments":[{"token":"`)
}

func TestIndexOutsideOfThePath(t *testing.T) {
	identity := sandbox.NewAuthority(t).Issue(t, "registry")
	server := updatepath.NewNetworkServiceRegistryServer(identity.Tokens())
	for index, ok := range []bool{true, false, false} {
		ctx := grpcmetadata.PathWithContext(context.Background(), &grpcmetadata.Path{
			Index: uint32(index), PathSegments: []*grpcmetadata.PathSegment{{}},
		})
		_, err := server.Register(ctx, &registry.NetworkService{Name: "ns"})
		require.Equal(t, ok, err == nil, "index %d: %v", index, err)
	}
}
