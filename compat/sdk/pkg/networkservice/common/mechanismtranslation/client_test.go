// SPDX-License-Identifier: Apache-2.0

package mechanismtranslation_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanismtranslation"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

// hop is the next hop: it answers with a mechanism of its own.
type hop struct {
	asked  *networkservice.NetworkServiceRequest
	closed *networkservice.Connection
}

func (h *hop) Request(_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	h.asked = request.Clone()
	conn := request.GetConnection().Clone()
	conn.Mechanism = &networkservice.Mechanism{Type: "VXLAN"}
	return conn, nil
}

func (h *hop) Close(_ context.Context, conn *networkservice.Connection, _ ...grpc.CallOption) (*emptypb.Empty, error) {
	h.closed = conn.Clone()
	return new(emptypb.Empty), nil
}

func TestEachSideHasItsMechanism(t *testing.T) {
	h := new(hop)
	client := next.NewNetworkServiceClient(metadata.NewClient(), mechanismtranslation.NewClient(), h)
	request := &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "id", Mechanism: &networkservice.Mechanism{Type: "KERNEL"}},
		MechanismPreferences: []*networkservice.Mechanism{{Type: "KERNEL"}, {Type: "MEMIF"}},
	}
	for i, want := range []string{"", "VXLAN", "VXLAN"} {
		conn, err := client.Request(context.Background(), request.Clone())
		require.NoError(t, err)
		require.Equal(t, "KERNEL", conn.GetMechanism().GetType())
		require.Empty(t, h.asked.GetMechanismPreferences())
		require.Equal(t, want, h.asked.GetConnection().GetMechanism().GetType(), "request %d", i)
	}
	_, err := client.Close(context.Background(), request.GetConnection())
	require.NoError(t, err)
	require.Equal(t, "VXLAN", h.closed.GetMechanism().GetType())

	_, err = client.Request(context.Background(), request.Clone())
	require.NoError(t, err)
	require.Nil(t, h.asked.GetConnection().GetMechanism(), "forgotten with the connection")
}
