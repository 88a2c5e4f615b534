// SPDX-License-Identifier: Apache-2.0

package vni_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/vxlan/vni"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/next"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
)

const low, high = "10.0.0.1", "10.0.0.2"

type refuse struct{ on bool }

func (r *refuse) Request(ctx context.Context, request *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	if r.on {
		return nil, errors.New("refused")
	}
	return next.Server(ctx).Request(ctx, request)
}

func (r *refuse) Close(ctx context.Context, conn *networkservice.Connection) (*emptypb.Empty, error) {
	return next.Server(ctx).Close(ctx, conn)
}

func newServer(ip string, opts ...vni.Option) (networkservice.NetworkServiceServer, *refuse) {
	r := new(refuse)
	return next.NewNetworkServiceServer(metadata.NewServer(), vni.NewServer(net.ParseIP(ip), opts...), r), r
}

func request(id, peer string, number uint32) *networkservice.NetworkServiceRequest {
	mechanism := &networkservice.Mechanism{Cls: "REMOTE", Type: vxlan.MECHANISM, Parameters: map[string]string{}}
	vxlan.ToMechanism(mechanism).SetSrcIP(net.ParseIP(peer))
	if number != 0 {
		vxlan.ToMechanism(mechanism).SetVNI(number)
	}
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: id, Mechanism: mechanism}}
}

func connect(t *testing.T, server networkservice.NetworkServiceServer, r *networkservice.NetworkServiceRequest) *vxlan.Mechanism {
	t.Helper()
	conn, err := server.Request(context.Background(), r)
	require.NoError(t, err)
	return vxlan.ToMechanism(conn.GetMechanism())
}

func TestParityFollowsTheAddresses(t *testing.T) {
	for _, c := range []struct {
		own, peer string
		odd       uint32
	}{{low, high, 1}, {high, low, 0}, {"2001:db8::2", "2001:db8::1", 0}, {"2001:db8::1", "2001:db8::2", 1}} {
		server, _ := newServer(c.own)
		for i := range 50 {
			mechanism := connect(t, server, request(fmt.Sprint(i), c.peer, 0))
			require.NotZero(t, mechanism.VNI())
			require.Less(t, mechanism.VNI(), uint32(1<<24))
			require.Equal(t, c.odd, mechanism.VNI()%2)
			require.Equal(t, c.own, mechanism.DstIP().String())
			require.EqualValues(t, 4789, mechanism.DstPort())
		}
	}
}

func TestUniquePerPeer(t *testing.T) {
	server, _ := newServer(high)
	taken := connect(t, server, request("a", low, 0)).VNI()
	require.Equal(t, taken, connect(t, server, request("a", low, 0)).VNI(), "kept on refresh")
	require.Equal(t, taken, connect(t, server, request("a", low, taken)).VNI(), "kept on refresh")

	require.NotEqual(t, taken, connect(t, server, request("b", low, taken)).VNI(), "it belongs to another connection")
	require.Equal(t, taken, connect(t, server, request("c", "10.0.0.0", taken)).VNI(), "another peer is another space")

	_, err := server.Close(context.Background(), request("a", low, taken).GetConnection())
	require.NoError(t, err)
	require.Equal(t, taken, connect(t, server, request("d", low, taken)).VNI(), "free after Close")
}

func TestKeptFromBeforeARestart(t *testing.T) {
	server, _ := newServer(high)
	require.EqualValues(t, 4242, connect(t, server, request("a", low, 4242)).VNI())
	require.NotEqualValues(t, 4242, connect(t, server, request("b", low, 4242)).VNI())
}

func TestAFailureFreesIt(t *testing.T) {
	server, r := newServer(high)
	r.on = true
	_, err := server.Request(context.Background(), request("a", low, 4242))
	require.Error(t, err)
	r.on = false
	require.EqualValues(t, 4242, connect(t, server, request("b", low, 4242)).VNI())
	r.on = true
	_, err = server.Request(context.Background(), request("b", low, 4242))
	require.Error(t, err)
	r.on = false
	require.NotEqualValues(t, 4242, connect(t, server, request("c", low, 4242)).VNI(), "a failed refresh keeps it")
}

func TestOtherMechanismsPass(t *testing.T) {
	server, _ := newServer(high)
	conn, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "a", Mechanism: &networkservice.Mechanism{Type: "KERNEL"},
	}})
	require.NoError(t, err)
	require.Empty(t, conn.GetMechanism().GetParameters())
	_, err = server.Request(context.Background(), request("b", "", 0))
	require.Error(t, err, "the peer did not say its address")
}

func TestPorts(t *testing.T) {
	server, _ := newServer(high, vni.WithTunnelPort(6000))
	require.EqualValues(t, 6000, connect(t, server, request("a", low, 0)).DstPort())

	r := request("a", "", 0)
	r.MechanismPreferences = []*networkservice.Mechanism{{Type: "KERNEL"}, r.Connection.Mechanism}
	r.Connection.Mechanism = nil
	_, err := vni.NewClient(net.ParseIP(low), vni.WithTunnelPort(6001)).Request(context.Background(), r)
	require.NoError(t, err)
	require.Empty(t, r.GetMechanismPreferences()[0].GetParameters())
	offered := vxlan.ToMechanism(r.GetMechanismPreferences()[1])
	require.Equal(t, low, offered.SrcIP().String())
	require.EqualValues(t, 6001, offered.SrcPort())
}
