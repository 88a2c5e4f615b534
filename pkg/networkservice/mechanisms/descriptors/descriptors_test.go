// SPDX-License-Identifier: Apache-2.0

package descriptors_test

import (
	"context"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/descriptors"
)

var urls = map[string]struct{ url, want string }{
	"a descriptor":            {"inode://4/4026531840", ""},
	"none":                    {"", ""},
	"the node's namespace":    {"file:///proc/1/ns/net", `mechanism KERNEL: parameter inodeURL is "file:///proc/1/ns/net"`},
	"our own":                 {"file:///proc/self/ns/net", "want an inode: URL"},
	"another's, as we see it": {"file:///proc/self/fd/7", "want an inode: URL"},
	"a path":                  {"/proc/1/ns/net", "want an inode: URL"},
	"a scheme in capitals":    {"FILE:///proc/1/ns/net", "want an inode: URL"},
	"what does not parse":     {"file://%zz", "parameter inodeURL: parse"},
}

func mechanism(url string) *networkservice.Mechanism {
	return &networkservice.Mechanism{Type: "KERNEL", Parameters: map[string]string{"inodeURL": url}}
}

func TestRequestsThatNameOurFilesAreRefused(t *testing.T) {
	server := chain.NewNetworkServiceServer(descriptors.NewServer())
	overNetwork := peer.NewContext(context.Background(), new(peer.Peer))
	for name, tc := range urls {
		t.Run(name, func(t *testing.T) {
			for _, r := range []*networkservice.NetworkServiceRequest{
				{Connection: &networkservice.Connection{Mechanism: mechanism(tc.url)}},
				{Connection: &networkservice.Connection{}, MechanismPreferences: []*networkservice.Mechanism{{Type: "MEMIF"}, mechanism(tc.url)}},
			} {
				_, err := server.Request(overNetwork, r)
				if tc.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tc.want)
				}
				_, err = server.Request(context.Background(), r)
				require.NoError(t, err, "a caller in this process has our rights")
			}
		})
	}
}

// hop answers with a mechanism.
type hop struct {
	url    string
	closed bool
}

func (h *hop) Request(
	_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption,
) (*networkservice.Connection, error) {
	conn := request.GetConnection().Clone()
	conn.Mechanism = mechanism(h.url)
	return conn, nil
}

func (h *hop) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	h.closed = true
	return &emptypb.Empty{}, nil
}

func TestAnswersThatNameOurFilesAreRefused(t *testing.T) {
	for name, tc := range urls {
		t.Run(name, func(t *testing.T) {
			h := &hop{url: tc.url}
			client := chain.NewNetworkServiceClient(metadata.NewClient(), descriptors.NewClient(), h)
			_, err := client.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "c1"}})
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.True(t, h.closed, "the next hop would keep the connection")
		})
	}
}
