// SPDX-License-Identifier: Apache-2.0

package switchcase_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/switchcase"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

func payload(wanted string) switchcase.Condition {
	return func(_ context.Context, conn *networkservice.Connection) bool { return conn.GetPayload() == wanted }
}

func TestTheFirstCaseThatHolds(t *testing.T) {
	for payloadType, want := range map[string][3]int{"IP": {1, 0, 1}, "ETHERNET": {0, 1, 1}} {
		ip, other, after := &recorder.Server{}, &recorder.Server{}, &recorder.Server{}
		server := next.NewNetworkServiceServer(switchcase.NewServer(
			&switchcase.ServerCase{Condition: payload("IP"), Server: ip},
			&switchcase.ServerCase{Condition: switchcase.Default, Server: other}), after)
		ipClient, otherClient, afterClient := &recorder.Client{}, &recorder.Client{}, &recorder.Client{}
		client := next.NewNetworkServiceClient(switchcase.NewClient(
			&switchcase.ClientCase{Condition: payload("IP"), Client: ipClient},
			&switchcase.ClientCase{Condition: switchcase.Default, Client: otherClient}), afterClient)

		conn := &networkservice.Connection{Payload: payloadType}
		_, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(t, err)
		_, err = client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(t, err)
		require.Equal(t, want, [3]int{len(ip.Requests()), len(other.Requests()), len(after.Requests())})
		require.Equal(t, want, [3]int{len(ipClient.Requests()), len(otherClient.Requests()), len(afterClient.Requests())})
		_, err = server.Close(t.Context(), conn)
		require.NoError(t, err)
		_, err = client.Close(t.Context(), conn)
		require.NoError(t, err)
		require.Equal(t, want, [3]int{len(ip.Closes()), len(other.Closes()), len(after.Closes())})
		require.Equal(t, want, [3]int{len(ipClient.Closes()), len(otherClient.Closes()), len(afterClient.Closes())})
	}
}

func TestWhereNoCaseHoldsTheCallGoesOn(t *testing.T) {
	server, after := &recorder.Server{}, &recorder.Server{}
	_, err := next.NewNetworkServiceServer(
		switchcase.NewServer(&switchcase.ServerCase{Condition: payload("IP"), Server: server}), after).
		Request(t.Context(), &networkservice.NetworkServiceRequest{})
	require.NoError(t, err)
	require.Empty(t, server.Requests())
	require.Len(t, after.Requests(), 1)
}
