// SPDX-License-Identifier: Apache-2.0

package trimpath_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/connect"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/trimpath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

func TestOnlyTheLastHopTrims(t *testing.T) {
	passing := connect.NewServer(next.NewNetworkServiceClient(metadata.NewClient(), trimpath.NewClient()))
	for _, test := range []struct {
		name  string
		after []networkservice.NetworkServiceServer
		want  int
	}{
		{"an endpoint is the last hop", nil, 2},
		{"a hop with a client half is not", []networkservice.NetworkServiceServer{passing}, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := next.NewNetworkServiceServer(append([]networkservice.NetworkServiceServer{metadata.NewServer(), trimpath.NewServer()}, test.after...)...)
			for range 2 {
				conn, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
					Id:   "b",
					Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Id: "a"}, {Id: "b"}, {Id: "c"}, {Id: "d"}}},
				}})
				require.NoError(t, err)
				require.Len(t, conn.GetPath().GetPathSegments(), test.want)
			}
			_, err := server.Close(t.Context(), &networkservice.Connection{Id: "b"})
			require.NoError(t, err)
		})
	}
}
