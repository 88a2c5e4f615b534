// SPDX-License-Identifier: Apache-2.0

package passthrough_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/internal/recorder"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/passthrough"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func TestTheNextHopSeesLabelsAndEndpointOfThisHalf(t *testing.T) {
	last := &recorder.Client{}
	last.OnReply = func(_ context.Context, conn *networkservice.Connection) error {
		conn.NetworkServiceEndpointName = "backend"
		return nil
	}
	client := next.NewNetworkServiceClient(metadata.NewClient(), passthrough.NewClient(map[string]string{"app": "proxy"}), last)
	conn := &networkservice.Connection{Id: "a", NetworkServiceEndpointName: "proxy-nse", Labels: map[string]string{"app": "user"}}
	for _, selected := range []string{"", "backend"} {
		reply, err := client.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"app": "user"}, reply.GetLabels())
		require.Equal(t, "proxy-nse", reply.GetNetworkServiceEndpointName())
		asked := last.Requests()[len(last.Requests())-1].GetConnection()
		require.Equal(t, map[string]string{"app": "proxy"}, asked.GetLabels())
		require.Equal(t, selected, asked.GetNetworkServiceEndpointName())
		conn = reply
	}
	_, err := client.Close(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, "backend", last.Closes()[0].GetNetworkServiceEndpointName())
	require.Equal(t, "proxy-nse", conn.GetNetworkServiceEndpointName())
}
