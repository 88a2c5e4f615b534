// SPDX-License-Identifier: Apache-2.0

package xconnect_test

import (
	"context"
	"errors"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/xconnect"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// recorder is a plane that remembers what it was asked.
type recorder struct {
	plane.Plane
	joined map[string]plane.Connection
	fail   error
}

func (r *recorder) Join(_ context.Context, c *plane.Connection) (plane.Link, error) {
	if r.fail != nil {
		return plane.Link{}, r.fail
	}
	r.joined[c.ID] = *c
	return plane.Link{
		ID: c.ID, MTU: c.MTU,
		Client:   plane.PortStatus{Port: c.Client, Counters: plane.Counters{RxBytes: 11}},
		Endpoint: plane.PortStatus{Port: c.Endpoint, Counters: plane.Counters{TxPackets: 22}},
	}, nil
}

func (r *recorder) Leave(_ context.Context, id string) error {
	delete(r.joined, id)
	return nil
}

// tail leaves ports and counts closes.
type tail struct {
	client, endpoint plane.Port
	closes           int
}

func (e *tail) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if e.client != nil {
		port.Store(ctx, false, e.client)
	}
	if e.endpoint != nil {
		port.Store(ctx, true, e.endpoint)
	}
	return next.Server(ctx).Request(ctx, request)
}

func (e *tail) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	e.closes++
	return next.Server(ctx).Close(ctx, conn)
}

func newRequest() *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", Payload: "IP",
		Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Id: "c0"}, {Id: "c1"}}},
	}}
}

var (
	podA = plane.Kernel{Name: "a", Inode: 1}
	podB = plane.Kernel{Name: "b", Inode: 2}
)

func TestPortsAreJoinedAndParted(t *testing.T) {
	p := &recorder{joined: map[string]plane.Connection{}}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), xconnect.NewServer(p), &tail{client: podA, endpoint: podB})
	conn, err := server.Request(context.Background(), newRequest())
	require.NoError(t, err)
	require.Equal(t, map[string]plane.Connection{
		"c1": {ID: "c1", Payload: plane.IP, MTU: plane.DefaultMTU, Client: podA, Endpoint: podB},
	}, p.joined)
	require.EqualValues(t, plane.DefaultMTU, conn.GetContext().GetMTU(), "the pods learn the MTU")

	metrics := conn.GetPath().GetPathSegments()[1].GetMetrics()
	require.Equal(t, "11", metrics["server_rx_bytes"])
	require.Equal(t, "22", metrics["client_tx_packets"])
	require.Equal(t, "KERNEL/a", metrics["server_interface"])

	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	require.Empty(t, p.joined)
}

func TestFailureClosesWhatWasNegotiated(t *testing.T) {
	for name, tc := range map[string]struct {
		tail tail
		fail error
		want string
	}{
		"the plane cannot join":         {tail{client: podA, endpoint: podB}, errors.New("no memory"), "no memory"},
		"no mechanism for the client":   {tail{endpoint: podB}, nil, "no mechanism was agreed with the client"},
		"no mechanism for the endpoint": {tail{client: podA}, nil, "no mechanism was agreed with the endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &recorder{joined: map[string]plane.Connection{}, fail: tc.fail}
			server := chain.NewNetworkServiceServer(metadata.NewServer(), xconnect.NewServer(p), &tc.tail)
			_, err := server.Request(context.Background(), newRequest())
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, 1, tc.tail.closes)
			require.Empty(t, p.joined)
		})
	}
}
