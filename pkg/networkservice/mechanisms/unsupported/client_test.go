// SPDX-License-Identifier: Apache-2.0

package unsupported_test

import (
	"context"
	"errors"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/unsupported"
)

// endpoint answers every request with an error, or with the connection.
type endpoint struct{ err error }

func (e *endpoint) Request(_ context.Context, r *networkservice.NetworkServiceRequest, _ ...grpc.CallOption) (*networkservice.Connection, error) {
	return r.GetConnection(), e.err
}

func (e *endpoint) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func TestEndpointsThatTakeNothingElseAreExplained(t *testing.T) {
	const hint = "; mechanism MEMIF was not offered to the endpoint: not supported by this forwarder: there is none"
	for name, tc := range map[string]struct {
		class string
		err   error
		want  string
	}{
		"takes memif only":            {cls.LOCAL, errors.New("mechanism is not supported: offered KERNEL, supported here: MEMIF"), hint},
		"in upstream's words":         {cls.LOCAL, errors.New("unsupported mechanism"), hint},
		"fails for another reason":    {cls.LOCAL, errors.New("no addresses are left"), ""},
		"is behind another forwarder": {cls.REMOTE, errors.New("unsupported mechanism"), ""},
		"answers":                     {cls.LOCAL, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := chain.NewNetworkServiceClient(unsupported.NewClient(map[string]string{"MEMIF": "there is none"}), &endpoint{tc.err})
			_, err := client.Request(t.Context(), &networkservice.NetworkServiceRequest{
				Connection:           &networkservice.Connection{Id: "c1"},
				MechanismPreferences: []*networkservice.Mechanism{{Cls: tc.class, Type: "KERNEL"}},
			})
			require.ErrorIs(t, err, tc.err)
			if tc.err != nil {
				require.EqualError(t, err, tc.err.Error()+tc.want)
			}
			require.Equal(t, tc.want != "", errors.Is(err, unsupported.ErrUnsupported))
		})
	}
}
