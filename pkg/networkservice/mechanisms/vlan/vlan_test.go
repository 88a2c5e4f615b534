// SPDX-License-Identifier: Apache-2.0

package vlan_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/portcheck"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/vlan"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type underlay struct{}

func (underlay) Addr() netip.Addr          { return netip.MustParseAddr("192.0.2.1") }
func (underlay) MTU() int                  { return 1500 }
func (underlay) Fragments(plane.Kind) bool { return true }

// endpoint answers with a VLAN and a label via, and asks for a zero MTU, as the
// stock remote VLAN endpoint does.
type endpoint struct {
	id, via string
	offered []*networkservice.Mechanism
	closed  bool
}

func (e *endpoint) Request(
	_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption,
) (*networkservice.Connection, error) {
	e.offered = request.GetMechanismPreferences()
	conn := request.GetConnection().Clone()
	conn.Mechanism = &networkservice.Mechanism{
		Cls: cls.REMOTE, Type: vlanmech.MECHANISM, Parameters: map[string]string{vlanmech.ID: e.id},
	}
	conn.Labels = map[string]string{"via": e.via}
	conn.Context = &networkservice.ConnectionContext{}
	return conn, nil
}

func (e *endpoint) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	e.closed = true
	return &emptypb.Empty{}, nil
}

func request(payload string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", NetworkService: "finance-bridge", Payload: payload,
		Path: &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Id: "c0", Name: "nsc"}}},
	}}
}

func newClient(seen *portcheck.Ports, devices vlan.Devices, e *endpoint) networkservice.NetworkServiceClient {
	return chain.NewNetworkServiceClient(metadata.NewClient(), seen.NewClient(), vlan.NewClient(underlay{}, devices, plane.Ethernet), e)
}

func TestTheEndpointNamesTheNetwork(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	// A connection that asks for no MTU counts as one of 9000 bytes.
	loMTU := min(uint32(lo.MTU), plane.DefaultMTU)
	devices := vlan.Devices{"gw-1": "lo", "gw-2": ""}
	for name, tc := range map[string]struct {
		devices vlan.Devices
		via     string
		want    plane.VLAN
		mtu     uint32
	}{
		"on the uplink, with no devices configured": {nil, "gw-1", plane.VLAN{ID: 100}, 1500},
		"on the device for its label":               {devices, "gw-1", plane.VLAN{ID: 100, Uplink: "lo"}, loMTU},
		"on the uplink, by configuration":           {devices, "gw-2", plane.VLAN{ID: 100}, 1500},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			e := &endpoint{id: "100", via: tc.via}
			client := newClient(&seen, tc.devices, e)
			conn, err := client.Request(context.Background(), request("ETHERNET"))
			require.NoError(t, err)
			require.Equal(t, tc.want, seen.Endpoint)
			require.Equal(t, tc.mtu, conn.GetContext().GetMTU(), "tagged frames have the device's own MTU")
			require.Len(t, e.offered, 1)
			require.Equal(t, cls.REMOTE, e.offered[0].GetCls())
			require.Equal(t, vlanmech.MECHANISM, e.offered[0].GetType())

			_, err = client.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
			require.NoError(t, err)
			require.Equal(t, tc.want, seen.Endpoint, "a refresh changes nothing")

			_, err = client.Close(context.Background(), conn)
			require.NoError(t, err)
			require.True(t, e.closed)
			require.Nil(t, seen.Endpoint)
		})
	}
}

func TestBadAnswersAreRefusedAndTheEndpointIsClosed(t *testing.T) {
	for name, tc := range map[string]struct {
		id, via string
		devices vlan.Devices
		want    string
	}{
		"no id":              {"", "", nil, `id "" of network service finance-bridge is not between 1 and 4094`},
		"untagged":           {"0", "", nil, `id "0"`},
		"reserved id":        {"4095", "", nil, `id "4095"`},
		"more than 12 bits":  {"4096", "", nil, `id "4096"`},
		"negative":           {"-1", "", nil, `id "-1"`},
		"no number":          {"0x64", "", nil, `id "0x64"`},
		"an unknown network": {"100", "gw-3", vlan.Devices{"gw-1": "lo"}, `no device of this node leads to VLAN 100 via "gw-3": name one in NSM_DEVICE_SELECTOR_FILE`},
		"no label":           {"100", "", vlan.Devices{"gw-1": "lo"}, `via ""`},
		"a device is gone":   {"100", "gw-1", vlan.Devices{"gw-1": "nsm-no-such"}, "device nsm-no-such"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			e := &endpoint{id: tc.id, via: tc.via}
			_, err := newClient(&seen, tc.devices, e).Request(context.Background(), request("ETHERNET"))
			require.ErrorContains(t, err, "vlan mechanism: ")
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Endpoint)
			require.True(t, e.closed, "the endpoint would keep the connection")
		})
	}
}

func TestItIsOfferedOnlyForPayloadsThatThePlaneCarries(t *testing.T) {
	var seen portcheck.Ports
	e := &endpoint{id: "100"}
	_, err := newClient(&seen, nil, e).Request(context.Background(), request("IP"))
	require.NoError(t, err)
	require.Empty(t, e.offered)
	require.Nil(t, seen.Endpoint)
}

func FuzzParameters(f *testing.F) {
	for _, id := range []string{"1", "4094", "4095", "0", "", "99999999999999999999", "1 ", "+1", "０"} {
		f.Add(id, "gw-1")
	}
	f.Fuzz(func(t *testing.T, id, via string) {
		var seen portcheck.Ports
		devices := vlan.Devices{"gw-1": ""}
		_, err := newClient(&seen, devices, &endpoint{id: id, via: via}).Request(context.Background(), request("ETHERNET"))
		if err != nil {
			return
		}
		p := seen.Endpoint.(plane.VLAN)
		want, err := strconv.ParseUint(id, 10, 12)
		if err != nil || uint16(want) != p.ID || p.ID < 1 || p.ID > 4094 || via != "gw-1" {
			t.Errorf("id %q via %q became %+v", id, via, p)
		}
	})
}
