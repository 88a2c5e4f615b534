// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/portcheck"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/mechanisms/kernel"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

func request(parameters map[string]string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{
		Id: "c1", NetworkService: "a-service-with-a-long-name",
		Mechanism: &networkservice.Mechanism{Cls: cls.LOCAL, Type: kernelmech.MECHANISM, Parameters: parameters},
		Path:      &networkservice.Path{PathSegments: []*networkservice.PathSegment{{Id: "c0", Name: "nsc"}}},
	}}
}

const ownNetNS = "file:///proc/self/ns/net"

func TestServerDescribesTheClientsInterface(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), kernel.NewServer())
	conn, err := server.Request(context.Background(), request(map[string]string{
		kernelmech.NetNSURL: ownNetNS, "name": "nsm-1",
	}))
	require.NoError(t, err)

	dev, ino, err := netns.Identity("/proc/self/ns/net")
	require.NoError(t, err)
	require.Equal(t, plane.Kernel{
		NetNS: "/proc/self/ns/net", Device: dev, Inode: ino, Name: "nsm-1", Alias: "server-c0",
	}, seen.Client)
	require.Equal(t, "nsm-1", kernelmech.ToMechanism(conn.GetMechanism()).GetInterfaceName())
}

func TestServerNamesAnInterfaceWithoutName(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), kernel.NewServer())
	conn, err := server.Request(context.Background(), request(map[string]string{kernelmech.NetNSURL: ownNetNS}))
	require.NoError(t, err)
	name := kernelmech.ToMechanism(conn.GetMechanism()).GetInterfaceName()
	require.Len(t, name, kernelmech.LinuxIfMaxLength)
	require.True(t, strings.HasPrefix(name, "a-service-"), name)
	require.Equal(t, name, seen.Client.(plane.Kernel).Name)
}

func TestServerRefusesBadParameters(t *testing.T) {
	notNetNS, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	require.NoError(t, notNetNS.Close())

	for name, tc := range map[string]struct{ url, ifName, want string }{
		"no namespace":              {"", "nsm-1", "no network namespace given"},
		"descriptor never came":     {"inode://4/4026531840", "nsm-1", "was not received"},
		"namespace does not exist":  {"file:///proc/self/ns/nothing", "nsm-1", "no such file"},
		"file is no namespace":      {"file://" + notNetNS.Name(), "nsm-1", "not a network namespace"},
		"URL does not parse":        {"file://%zz", "nsm-1", "network namespace"},
		"name too long":             {ownNetNS, "sixteen-bytes-xx", "has 16 bytes, the kernel takes at most 15"},
		"name with a slash":         {ownNetNS, "../eth0", "character"},
		"name that is a folder":     {ownNetNS, "..", "no interface name"},
		"name with a space":         {ownNetNS, "a b", "character"},
		"name with a control byte":  {ownNetNS, "a\x00b", "character"},
		"name with an address sign": {ownNetNS, "eth0:1", "character"},
	} {
		t.Run(name, func(t *testing.T) {
			var seen portcheck.Ports
			server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), kernel.NewServer())
			_, err := server.Request(context.Background(), request(map[string]string{
				kernelmech.NetNSURL: tc.url, "name": tc.ifName,
			}))
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, seen.Client)
		})
	}
}

func TestCloseForgetsThePort(t *testing.T) {
	var seen portcheck.Ports
	server := chain.NewNetworkServiceServer(metadata.NewServer(), seen.NewServer(), kernel.NewServer())
	conn, err := server.Request(context.Background(), request(map[string]string{kernelmech.NetNSURL: ownNetNS, "name": "nsm-1"}))
	require.NoError(t, err)
	_, err = server.Close(context.Background(), conn)
	require.NoError(t, err)
	require.True(t, seen.Closed)
}

// endpointOf takes the interface that a client proposes and puts it into this
// process's namespace, as an endpoint on this node would.
type endpointOf struct{ offered []*networkservice.Mechanism }

func (e *endpointOf) Request(
	_ context.Context, request *networkservice.NetworkServiceRequest, _ ...grpc.CallOption,
) (*networkservice.Connection, error) {
	e.offered = append(e.offered, request.GetMechanismPreferences()...)
	conn := request.GetConnection().Clone()
	conn.Mechanism = request.GetMechanismPreferences()[0].Clone()
	kernelmech.ToMechanism(conn.GetMechanism()).SetNetNSURL(ownNetNS)
	return conn, nil
}

func (e *endpointOf) Close(context.Context, *networkservice.Connection, ...grpc.CallOption) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func TestClientProposesTheSameNameAfterARestart(t *testing.T) {
	names := map[string]string{}
	for _, attempt := range []struct{ what, nsmgr, forwarder string }{
		{"first", "nsmgr-id-1", "forwarder-id-1"},
		{"after a restart of the forwarder", "nsmgr-id-1", "forwarder-id-2"},
		{"another attempt", "nsmgr-id-2", "forwarder-id-3"},
	} {
		var seen portcheck.Ports
		e := new(endpointOf)
		client := chain.NewNetworkServiceClient(metadata.NewClient(), seen.NewClient(), kernel.NewClient(), e)
		conn := request(nil).GetConnection()
		conn.Mechanism = nil
		conn.NetworkService = "a service/of:any name"
		conn.Path.PathSegments = append(conn.Path.PathSegments,
			&networkservice.PathSegment{Id: attempt.nsmgr}, &networkservice.PathSegment{Id: attempt.forwarder})
		_, err := client.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: conn})
		require.NoError(t, err)
		require.Len(t, e.offered, 1)
		name := kernelmech.ToMechanism(e.offered[0]).GetInterfaceName()
		require.Len(t, name, kernelmech.LinuxIfMaxLength)
		require.True(t, strings.HasPrefix(name, "a-service"), name)
		require.Equal(t, name, seen.Endpoint.(plane.Kernel).Name)
		require.Equal(t, "client-c0", seen.Endpoint.(plane.Kernel).Alias)
		names[attempt.what] = name
	}
	require.Equal(t, names["first"], names["after a restart of the forwarder"])
	require.NotEqual(t, names["first"], names["another attempt"])
}
