// SPDX-License-Identifier: Apache-2.0

package wireguard_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/netip"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	wgmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/wireguard"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nsm-afxdp/forwarder/internal/portcheck"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/wireguard"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

type underlay struct{}

func (underlay) Addr() netip.Addr          { return netip.MustParseAddr("192.0.2.1") }
func (underlay) MTU() int                  { return 1500 }
func (underlay) Fragments(plane.Kind) bool { return true }

// devices are those of a plane that wants some port, or in which an earlier run
// left a tunnel.
type devices struct {
	plane.Devices
	left plane.Port
	port uint16
	fail error
}

func (d devices) Left(id string) plane.Port {
	if id != "c1" {
		return nil
	}
	return d.left
}

func (d devices) WireGuardPort(string) (uint16, error) { return d.port, d.fail }

var peer = netip.MustParseAddr("192.0.2.2")

func newKey(t *testing.T) *ecdh.PublicKey {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return k.PublicKey()
}

func request(ip, key string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", Payload: "IP", Mechanism: &networkservice.Mechanism{
			Cls: cls.REMOTE, Type: wgmech.MECHANISM, Parameters: map[string]string{
				wgmech.SrcIP: ip, wgmech.SrcPort: "51820", wgmech.SrcPublicKey: key,
			},
		},
	}}
}

func TestServerShowsAKeyThatLastsAsLongAsTheConnection(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), wireguard.NewServer(underlay{}, devices{}))
	theirs := newKey(t)
	conn, err := server.Request(context.Background(), request(peer.String(), base64.StdEncoding.EncodeToString(theirs.Bytes())))
	require.NoError(t, err)
	m := wgmech.ToMechanism(conn.GetMechanism())
	p := seen.Client.(plane.WireGuard)
	require.Equal(t, netip.AddrPortFrom(peer, 51820), p.Remote)
	require.Equal(t, netip.AddrPortFrom(underlay{}.Addr(), wireguard.DefaultPort), p.Local)
	require.Equal(t, plane.Key(theirs.Bytes()), p.PeerKey)
	require.False(t, p.Initiator, "the side that has both keys first begins")
	private, err := ecdh.X25519().NewPrivateKey(p.PrivateKey[:])
	require.NoError(t, err)
	require.Equal(t, base64.StdEncoding.EncodeToString(private.PublicKey().Bytes()), m.DstPublicKey(), "what we show is ours")
	require.EqualValues(t, 1440, conn.GetContext().GetMTU())
	for _, value := range conn.GetMechanism().GetParameters() {
		require.NotEqual(t, p.PrivateKey.String(), value, "the private key leaves the process")
	}
	require.NotContains(t, p.String(), p.PrivateKey.String())

	_, err = server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
	require.NoError(t, err)
	require.Equal(t, p, seen.Client, "a refresh keeps the key")

	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	_, err = server.Request(context.Background(), request(peer.String(), base64.StdEncoding.EncodeToString(theirs.Bytes())))
	require.NoError(t, err)
	require.NotEqual(t, p.PrivateKey, seen.Client.(plane.WireGuard).PrivateKey, "the next connection has another")
}

func TestServerRefusesBadParameters(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(newKey(t).Bytes())
	for name, tc := range map[string]struct{ ip, key, want string }{
		"no address":             {"", key, "tunnel address"},
		"address does not parse": {"192.0.2.256", key, "tunnel address"},
		"unspecified address":    {"0.0.0.0", key, "no tunnel address of a peer"},
		"multicast address":      {"224.0.0.1", key, "no tunnel address of a peer"},
		"another family":         {"2001:db8::2", key, "different families"},
		"no key":                 {peer.String(), "", "not 32 bytes in base64"},
		"key is no base64":       {peer.String(), "%%%", "not 32 bytes in base64"},
		"key is too short":       {peer.String(), "AAAA", "not 32 bytes in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), wireguard.NewServer(underlay{}, devices{}))
			_, err := server.Request(context.Background(), request(tc.ip, tc.key))
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Client)
		})
	}
}

func TestThePlaneDecidesThePort(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), wireguard.NewServer(underlay{}, devices{port: 51877}))
	conn, err := server.Request(context.Background(), request(peer.String(), base64.StdEncoding.EncodeToString(newKey(t).Bytes())))
	require.NoError(t, err)
	require.EqualValues(t, 51877, wgmech.ToMechanism(conn.GetMechanism()).DstPort())
	require.EqualValues(t, 51877, seen.Client.(plane.WireGuard).Local.Port())

	server = chain.NewNetworkServiceServer(metadata.NewServer(), wireguard.NewServer(underlay{}, devices{fail: errors.New("no port left")}))
	_, err = server.Request(context.Background(), request(peer.String(), base64.StdEncoding.EncodeToString(newKey(t).Bytes())))
	require.ErrorContains(t, err, "no port left")
}

// hop takes no mechanism, but notes the first.
type hop struct {
	networkservice.NetworkServiceClient
	offered *networkservice.Mechanism
}

func (h *hop) Request(
	_ context.Context, r *networkservice.NetworkServiceRequest, _ ...grpc.CallOption,
) (*networkservice.Connection, error) {
	h.offered = r.GetMechanismPreferences()[0].Clone()
	return r.GetConnection(), nil
}

// What an earlier run showed its peer is shown again.
func TestTheKeyAndPortOfAnEarlierRunAreKept(t *testing.T) {
	before, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	d := devices{port: 51999, left: plane.WireGuard{
		Local: netip.AddrPortFrom(underlay{}.Addr(), 51833), PrivateKey: plane.Key(before.Bytes()),
	}}
	public := base64.StdEncoding.EncodeToString(before.PublicKey().Bytes())
	t.Run("server", func(t *testing.T) {
		var seen portcheck.Ports
		server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), wireguard.NewServer(underlay{}, d))
		conn, err := server.Request(context.Background(), request(peer.String(), base64.StdEncoding.EncodeToString(newKey(t).Bytes())))
		require.NoError(t, err)
		m := wgmech.ToMechanism(conn.GetMechanism())
		require.Equal(t, public, m.DstPublicKey())
		require.EqualValues(t, 51833, m.DstPort())
		require.Equal(t, plane.Key(before.Bytes()), seen.Client.(plane.WireGuard).PrivateKey)
	})
	t.Run("client", func(t *testing.T) {
		var next hop
		client := chain.NewNetworkServiceClient(metadata.NewClient(), wireguard.NewClient(underlay{}, d), &next)
		_, err := client.Request(context.Background(), &networkservice.NetworkServiceRequest{
			Connection: &networkservice.Connection{Id: "c1", Payload: "IP"},
		})
		require.NoError(t, err)
		offered := wgmech.ToMechanism(next.offered)
		require.Equal(t, public, offered.SrcPublicKey())
		require.EqualValues(t, 51833, offered.SrcPort())
	})
}
