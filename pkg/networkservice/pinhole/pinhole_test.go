// SPDX-License-Identifier: Apache-2.0

package pinhole_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/pinhole"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/port"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// references counts what is open, as the classifier does.
type references struct {
	open map[classifier.Pinhole]int
	fail map[classifier.Pinhole]error
}

func (r *references) Open(p classifier.Pinhole) error {
	if err := r.fail[p]; err != nil {
		return err
	}
	r.open[p]++
	return nil
}

func (r *references) ClosePinhole(p classifier.Pinhole) error {
	if r.open[p] == 0 {
		return errors.New("not open")
	}
	if r.open[p]--; r.open[p] == 0 {
		delete(r.open, p)
	}
	return nil
}

// ports leaves ports, as the mechanisms do.
type ports struct{ client, endpoint plane.Port }

func (p *ports) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	conn, err := next.Server(ctx).Request(ctx, request)
	port.Store(ctx, false, p.client)
	port.Store(ctx, true, p.endpoint)
	return conn, err
}

func (p *ports) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

var (
	here    = netip.MustParseAddr("10.0.0.1")
	there   = netip.MustParseAddr("10.0.0.2")
	vxlan7  = plane.VXLAN{Local: here, Remote: there, LocalPort: 4789, RemotePort: 4789, VNI: 7}
	vxlan8  = plane.VXLAN{Local: here, Remote: there, LocalPort: 4789, RemotePort: 4789, VNI: 8}
	tunnel  = plane.WireGuard{Local: netip.AddrPortFrom(here, 51820), Remote: netip.AddrPortFrom(there, 51820)}
	pod     = plane.Kernel{Name: "nsm-1"}
	vni7    = classifier.Pinhole{Addr: here, Port: 4789, VNI: 7}
	vni8    = classifier.Pinhole{Addr: here, Port: 4789, VNI: 8}
	wgPort  = classifier.Pinhole{Addr: here, Port: 51820, VNI: classifier.AnyVNI}
	request = func(id string) *networkservice.NetworkServiceRequest {
		return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id}}
	}
)

func TestPinholesFollowTheConnection(t *testing.T) {
	c := &references{open: map[classifier.Pinhole]int{}}
	p := &ports{client: pod, endpoint: vxlan7}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), pinhole.NewServer(c), p)
	ctx := context.Background()

	conn, err := server.Request(ctx, request("one"))
	require.NoError(t, err)
	require.Equal(t, map[classifier.Pinhole]int{vni7: 1}, c.open, "a VXLAN port opens its VNI only")

	_, err = server.Request(ctx, request("one"))
	require.NoError(t, err)
	require.Equal(t, map[classifier.Pinhole]int{vni7: 1}, c.open, "a refresh opens nothing again")

	p.endpoint = vxlan8
	_, err = server.Request(ctx, request("one"))
	require.NoError(t, err)
	require.Equal(t, map[classifier.Pinhole]int{vni8: 1}, c.open, "a changed port takes its pinhole along")

	p.client, p.endpoint = tunnel, pod
	other, err := server.Request(ctx, request("two"))
	require.NoError(t, err)
	require.Equal(t, map[classifier.Pinhole]int{vni8: 1, wgPort: 1}, c.open)

	for _, conn := range []*networkservice.Connection{conn, other} {
		_, err = server.Close(ctx, conn)
		require.NoError(t, err)
	}
	require.Empty(t, c.open)
}

func TestAFailureOpensNothing(t *testing.T) {
	c := &references{open: map[classifier.Pinhole]int{}, fail: map[classifier.Pinhole]error{wgPort: errors.New("map is full")}}
	p := &ports{client: tunnel, endpoint: vxlan7}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), pinhole.NewServer(c), p)
	_, err := server.Request(context.Background(), request("one"))
	require.ErrorContains(t, err, "map is full")
	require.Empty(t, c.open)
}
