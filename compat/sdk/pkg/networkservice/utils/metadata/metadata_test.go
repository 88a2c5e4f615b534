// SPDX-License-Identifier: Apache-2.0

package metadata_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func request(id string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}}
}

// count adds one to what the connection has been counted to.
func count(ctx context.Context, isClient bool) int {
	m := metadata.Map(ctx, isClient)
	n, _ := m.LoadOrStore("count", new(int))
	*n.(*int)++
	return *n.(*int)
}

func TestMetadataLivesUntilClose(t *testing.T) {
	for half, chain := range map[string]func(*recorder.Recorder) networkservice.NetworkServiceServer{
		"server": func(r *recorder.Recorder) networkservice.NetworkServiceServer {
			s := &recorder.Server{}
			s.OnRequest, s.OnClose = r.OnRequest, r.OnClose
			return next.NewNetworkServiceServer(metadata.NewServer(), s)
		},
		"client": func(r *recorder.Recorder) networkservice.NetworkServiceServer {
			c := &recorder.Client{}
			c.OnRequest, c.OnClose = r.OnRequest, r.OnClose
			return adapters.NewClientToServer(next.NewNetworkServiceClient(metadata.NewClient(), c))
		},
	} {
		t.Run(half, func(t *testing.T) {
			var seen int
			var fail error
			s := chain(&recorder.Recorder{
				OnRequest: func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
					seen = count(ctx, half == "client")
					return fail
				},
				OnClose: func(ctx context.Context, _ *networkservice.Connection) error {
					seen = count(ctx, half == "client")
					return fail
				},
			})
			step := func(want int, id string, closing bool) {
				t.Helper()
				if closing {
					_, _ = s.Close(t.Context(), &networkservice.Connection{Id: id})
				} else {
					_, _ = s.Request(t.Context(), request(id))
				}
				require.Equal(t, want, seen)
			}
			step(1, "a", false)
			step(2, "a", false)
			step(1, "b", false)
			fail = errors.New("no")
			step(3, "a", false) // a failed refresh keeps it
			step(4, "a", true)  // and a failed Close does not
			step(1, "a", false)
			step(1, "a", false) // nor a failed first Request
			step(1, "a", true)  // Close of an unknown connection has some
			step(2, "b", false)
		})
	}
}

func TestBothHalvesOfAHopShareMetadata(t *testing.T) {
	client, after := &recorder.Client{}, &recorder.Server{}
	client.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		metadata.Map(ctx, true).Store("left by", "client")
		return nil
	}
	after.OnRequest = func(ctx context.Context, _ *networkservice.NetworkServiceRequest) error {
		value, _ := metadata.Map(ctx, true).Load("left by")
		require.Equal(t, "client", value)
		_, ok := metadata.Map(ctx, false).Load("left by")
		require.False(t, ok)
		return nil
	}
	_, err := next.NewNetworkServiceServer(metadata.NewServer(),
		connect.NewServer(next.NewNetworkServiceClient(metadata.NewClient(), client)), after).Request(t.Context(), request("a"))
	require.NoError(t, err)
	require.Len(t, after.Requests(), 1)
}

func TestWithoutTheElementMapPanics(t *testing.T) {
	require.Panics(t, func() { metadata.Map(t.Context(), true) })
	require.True(t, metadata.IsClient(metadata.NewClient()))
	require.False(t, metadata.IsClient(metadata.NewServer()))
}
