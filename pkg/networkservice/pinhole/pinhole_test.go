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
	open  map[classifier.Pinhole]int
	vlans map[uint16]int
	fail  map[classifier.Pinhole]error
}

func (r *references) OpenVLAN(id uint16) error {
	if id > 4094 {
		return errors.New("no VLAN id")
	}
	r.vlans[id]++
	return nil
}

func (r *references) CloseVLAN(id uint16) error {
	if r.vlans[id] == 0 {
		return errors.New("not open")
	}
	if r.vlans[id]--; r.vlans[id] == 0 {
		delete(r.vlans, id)
	}
	return nil
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

func TestVLANsAreHeldWhileAConnectionIsOnThem(t *testing.T) {
	c := &references{vlans: map[uint16]int{}, open: map[classifier.Pinhole]int{}}
	p := &ports{client: pod, endpoint: plane.VLAN{ID: 100}}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), pinhole.NewServer(c), p)
	ctx := context.Background()
	var conns []*networkservice.Connection
	for _, id := range []string{"one", "two", "one"} {
		conn, err := server.Request(ctx, request(id))
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	require.Equal(t, map[uint16]int{100: 2}, c.vlans, "a refresh opens nothing again")

	p.endpoint = vxlan7
	_, err := server.Request(ctx, request("one"))
	require.NoError(t, err)
	require.Equal(t, map[uint16]int{100: 1}, c.vlans)
	require.Equal(t, map[classifier.Pinhole]int{vni7: 1}, c.open, "the connection moved from VLAN to VXLAN")

	for _, conn := range conns[:2] {
		_, err := server.Close(ctx, conn)
		require.NoError(t, err)
	}
	require.Empty(t, c.vlans)
	require.Empty(t, c.open)

	p.endpoint = plane.VLAN{ID: 100, Uplink: "eth1"}
	_, err = server.Request(ctx, request("three"))
	require.NoError(t, err)
	require.Empty(t, c.vlans, "frames of another device do not pass the classifier")
}

func TestAFailureClosesTheOtherSide(t *testing.T) {
	c := &references{vlans: map[uint16]int{}, open: map[classifier.Pinhole]int{}, fail: map[classifier.Pinhole]error{vni7: errors.New("map is full")}}
	p := &ports{client: vxlan7, endpoint: plane.VLAN{ID: 100}}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), pinhole.NewServer(c), p)
	_, err := server.Request(context.Background(), request("one"))
	require.ErrorContains(t, err, "map is full")
	require.Empty(t, c.vlans)

	p.client, p.endpoint = pod, plane.VLAN{ID: 4095}
	_, err = server.Request(context.Background(), request("one"))
	require.ErrorContains(t, err, "open a pinhole for vlan 4095: no VLAN id")
}

func TestAFailureOpensNothing(t *testing.T) {
	c := &references{open: map[classifier.Pinhole]int{}, fail: map[classifier.Pinhole]error{wgPort: errors.New("map is full")}}
	p := &ports{client: tunnel, endpoint: vxlan7}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), pinhole.NewServer(c), p)
	_, err := server.Request(context.Background(), request("one"))
	require.ErrorContains(t, err, "map is full")
	require.Empty(t, c.open)
}
