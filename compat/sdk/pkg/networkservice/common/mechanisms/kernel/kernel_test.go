// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/mechanisms/kernel/vlan"
)

const ownNetNS = "file:///proc/thread-self/ns/net"

func request(preferences ...*networkservice.Mechanism) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{
		Connection:           &networkservice.Connection{Id: "id", NetworkService: "a-long-service-name"},
		MechanismPreferences: preferences,
	}
}

func TestClientOffersKernel(t *testing.T) {
	for _, c := range []struct {
		name    string
		opts    []kernel.Option
		request *networkservice.NetworkServiceRequest
		want    string // "" is any
	}{
		{"a name is made of the service's", nil, request(), ""},
		{"the name that is set", []kernel.Option{kernel.WithInterfaceName("nsm-1")}, request(), "nsm-1"},
		{"a name that is too long", []kernel.Option{kernel.WithInterfaceName("0123456789abcdefgh")}, request(), "0123456789abcde"},
		{"the name in the preference", []kernel.Option{kernel.WithInterfaceName("nsm-1")},
			request(&networkservice.Mechanism{Cls: "LOCAL", Type: "KERNEL", Parameters: map[string]string{"name": "mine"}}), "mine"},
		{"what a generator makes", []kernel.Option{kernel.WithInterfaceNameGenerator(func(string) (string, error) { return "made", nil })}, request(), "made"},
		{"another preference stays", nil, request(&networkservice.Mechanism{Type: "MEMIF"}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := kernel.NewClient(c.opts...).Request(context.Background(), c.request)
			require.NoError(t, err)
			preferences := c.request.GetMechanismPreferences()
			last := kernelmech.ToMechanism(preferences[len(preferences)-1])
			require.NotNil(t, last)
			require.Equal(t, "LOCAL", last.GetCls())
			require.Equal(t, ownNetNS, last.GetNetNSURL())
			if c.want != "" {
				require.Equal(t, c.want, last.GetInterfaceName())
				return
			}
			require.Len(t, last.GetInterfaceName(), 15)
			require.Contains(t, last.GetInterfaceName(), "a-long-ser")
		})
	}
	_, err := kernel.NewClient(kernel.WithInterfaceNameGenerator(func(string) (string, error) { return "", errors.New("no names") })).
		Request(context.Background(), request())
	require.ErrorContains(t, err, "no names")
}

func TestServerAnswersWithItsNamespace(t *testing.T) {
	r := request()
	r.Connection.Mechanism = &networkservice.Mechanism{Cls: "LOCAL", Type: "KERNEL"}
	conn, err := kernel.NewServer(kernel.WithInterfaceName("nsm-1")).Request(context.Background(), r)
	require.NoError(t, err)
	mechanism := kernelmech.ToMechanism(conn.GetMechanism())
	require.Equal(t, ownNetNS, mechanism.GetNetNSURL())
	require.Equal(t, "nsm-1", mechanism.GetInterfaceName())

	r = request()
	r.Connection.Mechanism = &networkservice.Mechanism{Type: "MEMIF"}
	conn, err = kernel.NewServer().Request(context.Background(), r)
	require.NoError(t, err)
	require.Empty(t, conn.GetMechanism().GetParameters())
}

func TestVLANs(t *testing.T) {
	server := vlan.NewServer()
	connect := func() *networkservice.Connection {
		r := request()
		r.Connection.Mechanism = &networkservice.Mechanism{Type: "KERNEL", Parameters: map[string]string{"supportsVlan": "true"}}
		conn, err := server.Request(context.Background(), r)
		require.NoError(t, err)
		return conn
	}
	id := func(conn *networkservice.Connection) uint32 {
		return kernelmech.ToMechanism(conn.GetMechanism()).GetVLAN()
	}
	first, second := connect(), connect()
	require.EqualValues(t, 1, id(first))
	require.EqualValues(t, 2, id(second))
	_, err := server.Request(context.Background(), &networkservice.NetworkServiceRequest{Connection: first})
	require.NoError(t, err)
	require.EqualValues(t, 1, id(first), "a refresh keeps it")
	_, err = server.Close(context.Background(), first)
	require.NoError(t, err)
	require.EqualValues(t, 1, id(connect()))
}
