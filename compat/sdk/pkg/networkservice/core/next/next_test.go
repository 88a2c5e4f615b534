// SPDX-License-Identifier: Apache-2.0

package next_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/tools/log"
)

func request() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}}
}

func TestNestedChainsGoOnAroundThem(t *testing.T) {
	s := [4]*recorder.Server{{}, {}, {}, {}}
	server := next.NewNetworkServiceServer(s[0], next.NewNetworkServiceServer(s[1], next.NewNetworkServiceServer(), s[2]), s[3])
	c := [4]*recorder.Client{{}, {}, {}, {}}
	client := next.NewNetworkServiceClient(c[0], next.NewNetworkServiceClient(c[1], next.NewNetworkServiceClient(), c[2]), c[3])
	for range 2 { // a chain may be used again
		conn, err := server.Request(t.Context(), request())
		require.NoError(t, err)
		require.Equal(t, "a", conn.GetId())
		_, err = server.Close(t.Context(), conn)
		require.NoError(t, err)
		conn, err = client.Request(t.Context(), request())
		require.NoError(t, err)
		require.Equal(t, "a", conn.GetId())
		_, err = client.Close(t.Context(), conn)
		require.NoError(t, err)
	}
	for i := range 4 {
		require.Len(t, s[i].Requests(), 2)
		require.Len(t, s[i].Closes(), 2)
		require.Len(t, c[i].Requests(), 2)
		require.Len(t, c[i].Closes(), 2)
	}
}

func TestOutsideAChainNextIsTheEnd(t *testing.T) {
	conn, err := next.Server(t.Context()).Request(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "a", conn.GetId())
	_, err = next.Client(t.Context()).Close(t.Context(), conn)
	require.NoError(t, err)
}

func TestAdaptersGoOnInTheChainThatTheyAreIn(t *testing.T) {
	before, inside, after := &recorder.Server{}, &recorder.Client{}, &recorder.Server{}
	server := next.NewNetworkServiceServer(before, adapters.NewClientToServer(inside), after)
	conn, err := server.Request(t.Context(), request())
	require.NoError(t, err)
	_, err = server.Close(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 1, 1, 1, 1}, []int{
		len(before.Requests()), len(inside.Requests()), len(after.Requests()),
		len(before.Closes()), len(inside.Closes()), len(after.Closes()),
	})

	first, middle, last := &recorder.Client{}, &recorder.Server{}, &options{}
	client := next.NewNetworkServiceClient(first, adapters.NewServerToClient(middle), last)
	conn, err = client.Request(t.Context(), request(), grpc.WaitForReady(true))
	require.NoError(t, err)
	_, err = client.Close(t.Context(), conn, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, 2, last.seen, "the options of the call got lost")
	require.Len(t, middle.Requests(), 1)
	require.Len(t, middle.Closes(), 1)
}

// BenchmarkElement is what one element of a chain costs, traced or not, when
// nothing is to be traced.
func BenchmarkElement(b *testing.B) {
	const elements = 20
	log.EnableTracing(false)
	for name, build := range map[string]func(...networkservice.NetworkServiceServer) networkservice.NetworkServiceServer{
		"plain": next.NewNetworkServiceServer, "traced": chain.NewNetworkServiceServer,
	} {
		servers := make([]networkservice.NetworkServiceServer, elements)
		for i := range servers {
			servers[i] = passing{}
		}
		server, r := build(servers...), request()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = server.Request(b.Context(), r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/elements, "ns/element")
		})
	}
}
