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

func (u underlay) Addr() netip.Addr { return u.addr }
func (u underlay) MTU() int         { return u.mtu }

var (
	here = underlay{netip.MustParseAddr("192.0.2.1"), 1500}
	peer = netip.MustParseAddr("192.0.2.2")
)

func request(parameters map[string]string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", Payload: "ETHERNET",
		Mechanism: &networkservice.Mechanism{Cls: cls.REMOTE, Type: vxlanmech.MECHANISM, Parameters: parameters},
	}}
}

func TestServerAnswersWithItsEndAndTheSmallerMTU(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, 0))
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
			server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, 0))
			_, err := server.Request(context.Background(), request(map[string]string{vxlanmech.SrcIP: tc.ip, vxlanmech.SrcPort: "4789"}))
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Client)
		})
	}
}

func TestOthersMechanismsPass(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), vxlan.NewServer(here, 0))
	r := request(map[string]string{})
	r.Connection.Mechanism.Type = "KERNEL"
	_, err := server.Request(context.Background(), r)
	require.NoError(t, err)
	require.Nil(t, seen.Client)
}
