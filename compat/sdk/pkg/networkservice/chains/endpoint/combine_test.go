// SPDX-License-Identifier: Apache-2.0

package endpoint_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/chains/endpoint"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/switchcase"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
)

func token(credentials.AuthInfo) (string, time.Time, error) {
	return "token", time.Now().Add(time.Hour), nil
}

func payload(wanted string) switchcase.Condition {
	return func(_ context.Context, conn *networkservice.Connection) bool { return conn.GetPayload() == wanted }
}

func request(id, payload string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: id, Payload: payload,
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{
			{Name: "nsc", Id: id, Expires: timestamppb.New(time.Now().Add(time.Hour))},
		}},
	}}
}

func TestCombinedEndpointsAreOne(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	combined := endpoint.Combine(func(servers []networkservice.NetworkServiceServer) networkservice.NetworkServiceServer {
		return switchcase.NewServer(
			&switchcase.ServerCase{Condition: payload("IP"), Server: servers[0]},
			&switchcase.ServerCase{Condition: switchcase.Default, Server: servers[1]})
	}, endpoint.NewServer(ctx, token, endpoint.WithName("ip")), endpoint.NewServer(ctx, token, endpoint.WithName("ethernet")))

	reply, err := combined.Request(t.Context(), request("a", "IP"))
	require.NoError(t, err)
	require.Equal(t, "ip", reply.GetPath().GetPathSegments()[1].GetName())

	watchCtx, cancelWatch := context.WithCancel(t.Context())
	defer cancelWatch()
	stream, err := adapters.NewMonitorServerToClient(combined).MonitorConnections(watchCtx, nil)
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, networkservice.ConnectionEventType_INITIAL_STATE_TRANSFER, first.GetType())
	require.Len(t, first.GetConnections(), 1)

	reply, err = combined.Request(t.Context(), request("b", "ETHERNET"))
	require.NoError(t, err)
	require.Equal(t, "ethernet", reply.GetPath().GetPathSegments()[1].GetName())
	_, err = combined.Close(t.Context(), reply)
	require.NoError(t, err)
	for _, want := range []networkservice.ConnectionEventType{networkservice.ConnectionEventType_UPDATE, networkservice.ConnectionEventType_DELETE} {
		event, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, want, event.GetType())
	}
}
