// SPDX-License-Identifier: Apache-2.0

package vxlan_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/portcheck"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vxlan"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type underlay struct {
	addr netip.Addr
	mtu  int
}

func (u underlay) Addr() netip.Addr        { return u.addr }
func (u underlay) MTU() int                { return u.mtu }
func (underlay) Fragments(plane.Kind) bool { return true }

var (
	here = underlay{netip.MustParseAddr("192.0.2.1"), 1500}
	peer = netip.MustParseAddr("192.0.2.2")
)

// devices are those of a plane in which an earlier run left a tunnel, and
// others have some VNIs.
type devices struct {
	plane.Devices
	left  plane.Port
	taken func(plane.VXLAN) bool
}

func (d devices) Left(id string) plane.Port {
	if id != "c1" {
		return nil
	}
	return d.left
}

func (d devices) HasRoom(_ string, v plane.VXLAN) bool { return d.taken == nil || !d.taken(v) }

func request(parameters map[string]string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", Payload: "ETHERNET",
		Mechanism: &networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlanmech.MECHANISM, Parameters: parameters},
	}}
}

func TestServerAnswersWithItsEndAndTheSmallerMTU(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, devices{}, 0))
	conn, err := server.Request(context.Background(), request(map[string]string{
		vxlanmech.SrcIP: peer.String(), vxlanmech.SrcPort: "8472", vxlanmech.MTU: "1400",
	}))
	require.NoError(t, err)
	m := vxlanmech.ToMechanism(conn.GetMechanism())
	require.Equal(t, here.addr.String(), m.DstIP().String())
	require.EqualValues(t, vxlan.DefaultPort, m.DstPort())
	require.NotZero(t, m.VNI())
	require.EqualValues(t, 1400, conn.GetContext().GetMTU(), "the peer's tunnel is the narrower one")
	require.Equal(t, plane.VXLAN{
		Local: here.addr, Remote: peer, LocalPort: vxlan.DefaultPort, RemotePort: 8472, VNI: m.VNI(),
	}, seen.Client)

	again, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, m.VNI(), vxlanmech.ToMechanism(again.GetMechanism()).VNI(), "a refresh keeps the VNI")
	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	require.True(t, seen.Closed)
}

func TestServerRefusesBadParameters(t *testing.T) {
	for name, tc := range map[string]struct{ ip, want string }{
		"no address":             {"", "tunnel address"},
		"address does not parse": {"192.0.2.256", "tunnel address"},
		"unspecified address":    {"0.0.0.0", "no tunnel address of a peer"},
		"multicast address":      {"224.0.0.1", "no tunnel address of a peer"},
		"another family":         {"2001:db8::2", "different families"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, devices{}, 0))
			_, err := server.Request(context.Background(), request(map[string]string{vxlanmech.SrcIP: tc.ip, vxlanmech.SrcPort: "4789"}))
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Client)
		})
	}
}

func TestOthersMechanismsPass(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, devices{}, 0))
	r := request(map[string]string{})
	r.Connection.Mechanism.Type = "KERNEL"
	_, err := server.Request(context.Background(), r)
	require.NoError(t, err)
	require.Nil(t, seen.Client)
}

func TestTheVNIOfAnEarlierRunIsKept(t *testing.T) {
	left := plane.VXLAN{Local: here.addr, Remote: peer, LocalPort: 4789, RemotePort: 4789, VNI: 4711}
	for name, tc := range map[string]struct {
		parameters map[string]string
		same       bool
	}{
		"for the same peer":         {map[string]string{vxlanmech.SrcIP: peer.String()}, true},
		"but not for another":       {map[string]string{vxlanmech.SrcIP: peer.Next().String()}, false},
		"nor if the peer knows one": {map[string]string{vxlanmech.SrcIP: peer.String(), vxlanmech.VNI: "4712"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, devices{left: left}, 0))
			conn, err := server.Request(context.Background(), request(tc.parameters))
			require.NoError(t, err)
			got := vxlanmech.ToMechanism(conn.GetMechanism()).VNI()
			require.Equal(t, tc.same, got == left.VNI)
			require.Equal(t, got, seen.Client.(plane.VXLAN).VNI)
			if known := tc.parameters[vxlanmech.VNI]; known != "" {
				require.Equal(t, known, conn.GetMechanism().GetParameters()[vxlanmech.VNI])
			}
		})
	}
}

// A VNI that the plane has for another peer's connection is not the answer.
func TestAnotherVNIWhereThePlaneHasNoRoom(t *testing.T) {
	var seen portcheck.Ports
	var tried []uint32
	full := devices{taken: func(v plane.VXLAN) bool {
		tried = append(tried, v.VNI)
		return len(tried) < 3
	}}
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, full, 0))
	conn, err := server.Request(context.Background(), request(map[string]string{vxlanmech.SrcIP: peer.String(), vxlanmech.VNI: "4711"}))
	require.NoError(t, err)
	require.Len(t, tried, 3)
	require.EqualValues(t, 4711, tried[0])
	require.NotEqual(t, tried[1], tried[2])
	require.Equal(t, tried[2], vxlanmech.ToMechanism(conn.GetMechanism()).VNI())
	require.Equal(t, tried[2], seen.Client.(plane.VXLAN).VNI)

	full.taken = func(plane.VXLAN) bool { return true }
	server = chain.NewNetworkServiceServer(metadata.NewServer(), vxlan.NewServer(here, full, 0))
	_, err = server.Request(context.Background(), request(map[string]string{vxlanmech.SrcIP: peer.String()}))
	require.ErrorContains(t, err, "belongs to another connection")
}
