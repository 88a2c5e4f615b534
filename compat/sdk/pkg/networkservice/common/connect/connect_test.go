// SPDX-License-Identifier: Apache-2.0

package connect_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/loopback"
	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/clientconn"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func request() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}}
}

func TestTheReplyOfTheClientGoesOnAlongTheServers(t *testing.T) {
	client, after := &recorder.Client{}, &recorder.Server{}
	client.OnRequest = func(_ context.Context, r *networkservice.NetworkServiceRequest) error {
		r.Connection.NetworkServiceEndpointName = "nse"
		return nil
	}
	server := next.NewNetworkServiceServer(connect.NewServer(client), after)
	conn, err := server.Request(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "nse", conn.GetNetworkServiceEndpointName())
	require.Equal(t, "nse", after.Requests()[0].GetConnection().GetNetworkServiceEndpointName())
	require.Empty(t, client.Closes())
}

func TestAFailureAfterwardsClosesTheClient(t *testing.T) {
	no := errors.New("no")
	client, after := &recorder.Client{}, &recorder.Server{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	after.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error {
		cancel() // the caller has given up, cleaning up goes on
		return no
	}
	client.OnClose = func(ctx context.Context, _ *networkservice.Connection) error { return ctx.Err() }
	_, err := next.NewNetworkServiceServer(connect.NewServer(client), after).Request(ctx, request())
	require.ErrorIs(t, err, no)
	require.Len(t, client.Closes(), 1)
}

func TestAFailureOfTheClientStopsThere(t *testing.T) {
	no := errors.New("no")
	client, after := &recorder.Client{}, &recorder.Server{}
	client.OnRequest = func(context.Context, *networkservice.NetworkServiceRequest) error { return no }
	_, err := next.NewNetworkServiceServer(connect.NewServer(client), after).Request(t.Context(), request())
	require.ErrorIs(t, err, no)
	require.Empty(t, after.Requests())
}

func TestCloseGoesBothWays(t *testing.T) {
	no := errors.New("no")
	client, after := &recorder.Client{}, &recorder.Server{}
	client.OnClose = func(context.Context, *networkservice.Connection) error { return no }
	_, err := next.NewNetworkServiceServer(connect.NewServer(client), after).Close(t.Context(), request().GetConnection())
	require.ErrorIs(t, err, no)
	require.Len(t, after.Closes(), 1)
}

func TestTheCallOverGRPC(t *testing.T) {
	server := &recorder.Server{}
	cc := loopback.Serve(t, server, nil).Dial(t)
	client := next.NewNetworkServiceClient(metadata.NewClient(), clientconn.NewClient(cc), connect.NewClient())
	conn, err := client.Request(t.Context(), request())
	require.NoError(t, err)
	require.Equal(t, "a", conn.GetId())
	_, err = client.Close(t.Context(), conn)
	require.NoError(t, err)
	require.Len(t, server.Closes(), 1)
}

func TestWithoutAConnectionToTheNextHop(t *testing.T) {
	client := next.NewNetworkServiceClient(metadata.NewClient(), connect.NewClient())
	_, err := client.Request(t.Context(), request())
	require.Error(t, err)
	_, err = client.Close(t.Context(), request().GetConnection())
	require.NoError(t, err)
}
