// SPDX-License-Identifier: Apache-2.0

package mechanisms_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/null"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/adapters"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
)

func mech(mechanismType string) *networkservice.Mechanism {
	return &networkservice.Mechanism{Cls: "LOCAL", Type: mechanismType, Parameters: map[string]string{common.InterfaceNameKey: "nsm-1"}}
}

func offered(types ...string) *networkservice.NetworkServiceRequest {
	r := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "id", Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Name: "fwd", Id: "id"}}},
	}}
	for _, mechanismType := range types {
		r.MechanismPreferences = append(r.MechanismPreferences, mech(mechanismType))
	}
	return r
}

func established(mechanismType string) *networkservice.NetworkServiceRequest {
	r := offered("KERNEL", "MEMIF")
	r.Connection.Mechanism = mech(mechanismType)
	return r
}

// rest is the rest of the chain; it refuses some mechanisms.
type rest struct {
	refuse   map[string]bool
	requests []string
	closes   int
}

func (r *rest) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	mechanismType := request.GetConnection().GetMechanism().GetType()
	r.requests = append(r.requests, mechanismType)
	if r.refuse[mechanismType] {
		return nil, errors.New("no room")
	}
	return next.Server(ctx).Request(ctx, request)
}

func (r *rest) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	r.closes++
	return next.Server(ctx).Close(ctx, conn)
}

func TestServer(t *testing.T) {
	for _, c := range []struct {
		name    string
		request *networkservice.NetworkServiceRequest
		refuse  []string
		want    string
		tried   []string
		errs    []string
	}{
		{name: "the client's order counts", request: offered("MEMIF", "KERNEL"), want: "MEMIF", tried: []string{"MEMIF"}},
		{name: "unknown ones are passed over", request: offered("VFIO", "KERNEL"), want: "KERNEL", tried: []string{"KERNEL"}},
		{name: "the next is tried when one fails", request: offered("MEMIF", "KERNEL"), refuse: []string{"MEMIF"}, want: "KERNEL", tried: []string{"MEMIF", "KERNEL"}},
		{name: "all fail", request: offered("MEMIF", "KERNEL"), refuse: []string{"MEMIF", "KERNEL"}, tried: []string{"MEMIF", "KERNEL"}, errs: []string{"MEMIF: no room", "KERNEL: no room"}},
		{name: "none is supported", request: offered("VFIO", "SRV6"), errs: []string{"offered VFIO, SRV6", "supported here: KERNEL, MEMIF"}},
		{name: "nothing is offered", request: offered(), errs: []string{"offered nothing", "supported here: KERNEL, MEMIF"}},
		{name: "an established one stays", request: established("MEMIF"), want: "MEMIF", tried: []string{"MEMIF"}},
		{name: "an established one fails at once", request: established("VFIO"), errs: []string{"the connection has VFIO", "supported here: KERNEL, MEMIF"}},
		{name: "an established one is not replaced", request: established("MEMIF"), refuse: []string{"MEMIF"}, tried: []string{"MEMIF"}, errs: []string{"no room"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rest{refuse: make(map[string]bool)}
			for _, mechanismType := range c.refuse {
				r.refuse[mechanismType] = true
			}
			server := next.NewNetworkServiceServer(mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{
				"KERNEL": null.NewServer(), "MEMIF": null.NewServer(),
			}), r)
			before := c.request.Clone()
			conn, err := server.Request(context.Background(), c.request)
			require.Equal(t, c.tried, r.requests)
			if len(c.errs) > 0 {
				for _, text := range c.errs {
					require.ErrorContains(t, err, text)
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, conn.GetMechanism().GetType())
			require.Equal(t, c.want+"/nsm-1", conn.GetPath().GetPathSegments()[0].GetMetrics()["server_interface"])
			if before.GetConnection().GetMechanism() == nil {
				require.Nil(t, c.request.GetConnection().GetMechanism(), "the request stays as it is")
			}
		})
	}
}

func TestCloseReachesTheRest(t *testing.T) {
	r := new(rest)
	server := next.NewNetworkServiceServer(mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{"KERNEL": null.NewServer()}), r)
	for i, request := range []*networkservice.NetworkServiceRequest{established("KERNEL"), established("VFIO"), offered()} {
		_, err := server.Close(context.Background(), request.GetConnection())
		require.Equal(t, request.GetConnection().GetMechanism().GetType() == "VFIO", err != nil)
		require.Equal(t, i+1, r.closes)
	}
}

// named counts the requests that one client element was chosen for.
type named struct{ requests, closes int }

func (n *named) Request(ctx context.Context, request *networkservice.NetworkServiceRequest, opts ...grpc.CallOption) (*networkservice.Connection, error) {
	n.requests++
	return next.Client(ctx).Request(ctx, request, opts...)
}

func (n *named) Close(ctx context.Context, conn *networkservice.Connection, opts ...grpc.CallOption) (*emptypb.Empty, error) {
	n.closes++
	return next.Client(ctx).Close(ctx, conn, opts...)
}

func TestClient(t *testing.T) {
	kernel, memif := new(named), new(named)
	client := next.NewNetworkServiceClient(
		mechanisms.NewClient(map[string]networkservice.NetworkServiceClient{"KERNEL": kernel, "MEMIF": memif}),
		adapters.NewServerToClient(mechanisms.NewServer(map[string]networkservice.NetworkServiceServer{"KERNEL": null.NewServer(), "MEMIF": null.NewServer()})),
	)
	conn, err := client.Request(context.Background(), offered("VFIO", "MEMIF", "KERNEL"))
	require.NoError(t, err)
	require.Equal(t, 1, memif.requests)
	require.Zero(t, kernel.requests)
	require.Equal(t, "MEMIF", conn.GetMechanism().GetType())
	require.Equal(t, "MEMIF/nsm-1", conn.GetPath().GetPathSegments()[0].GetMetrics()["client_interface"])

	_, err = client.Request(context.Background(), established("VFIO"))
	require.ErrorContains(t, err, "the connection has VFIO, supported here: KERNEL, MEMIF")
	_, err = client.Request(context.Background(), offered("VFIO"))
	require.ErrorContains(t, err, "offered VFIO")
	_, err = client.Close(context.Background(), established("KERNEL").GetConnection())
	require.NoError(t, err)
	require.Equal(t, 1, kernel.closes)
}
