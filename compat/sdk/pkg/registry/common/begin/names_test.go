// SPDX-License-Identifier: Apache-2.0

package begin_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/sdk/pkg/registry/common/begin"
	"github.com/networkservicemesh/sdk/pkg/registry/core/next"
	"github.com/networkservicemesh/sdk/pkg/registry/internal/either"
	"github.com/networkservicemesh/sdk/pkg/tools/interdomain"
)

// domain strips the domain of a name, as a registry of another domain does.
type domain struct {
	either.PassNSEServer
	registered, unregistered []string
	factory                  begin.EventFactory
}

func (d *domain) Register(ctx context.Context, in *nse) (*nse, error) {
	d.registered = append(d.registered, in.GetName())
	d.factory = begin.FromContext(ctx)
	out := in.Clone()
	out.Name = interdomain.Target(in.GetName())
	out.PathIds = []string{"known"}
	return out, nil
}

func (d *domain) Unregister(_ context.Context, in *nse) (*emptypb.Empty, error) {
	d.unregistered = append(d.unregistered, in.GetName(), in.GetUrl(), in.GetPathIds()[0])
	return new(emptypb.Empty), nil
}

func TestTheNameAskedForIsKept(t *testing.T) {
	for _, name := range []string{"nse@domain", "nse"} {
		d := new(domain)
		server := next.NewNetworkServiceEndpointRegistryServer(begin.NewNetworkServiceEndpointRegistryServer(), d)
		_, err := server.Register(context.Background(), &nse{Name: "nse@domain", Url: "tcp://here"})
		require.NoError(t, err)
		require.NoError(t, <-d.factory.Register())
		_, err = server.Unregister(context.Background(), &nse{Name: name})
		require.NoError(t, err)
		require.Equal(t, []string{"nse@domain", "nse@domain"}, d.registered)
		require.Equal(t, []string{"nse@domain", "tcp://here", "known"}, d.unregistered, "known by either name")
		require.NoError(t, <-d.factory.Register())
		require.Len(t, d.registered, 2)
	}
}
