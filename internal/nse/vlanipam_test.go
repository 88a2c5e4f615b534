// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
)

func vlanIPAMOf(t *testing.T, prefixes ...string) networkservice.NetworkServiceServer {
	t.Helper()
	var nets []*net.IPNet
	for _, p := range prefixes {
		_, n, err := net.ParseCIDR(p)
		require.NoError(t, err)
		nets = append(nets, n)
	}
	return newVLANIPAM(nets...)
}

// ask requests an address for a connection that comes with some.
func ask(t *testing.T, server networkservice.NetworkServiceServer, id string, excluded []string, has ...string) ([]string, error) {
	t.Helper()
	conn, err := chain.NewNetworkServiceServer(server).Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: id, Context: &networkservice.ConnectionContext{
			IpContext: &networkservice.IPContext{SrcIpAddrs: has, ExcludedPrefixes: excluded},
		}},
	})
	return conn.GetContext().GetIpContext().GetSrcIpAddrs(), err
}

func TestHostsOfAVLANGetDistinctAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		prefixes, excluded, want []string
	}{
		"neither the network's nor the broadcast address": {[]string{"172.10.0.0/30"}, nil, []string{"172.10.0.1/30", "172.10.0.2/30", ""}},
		"both of a link of two":                           {[]string{"172.10.0.0/31"}, nil, []string{"172.10.0.0/31", "172.10.0.1/31", ""}},
		"the one of a host":                               {[]string{"172.10.0.7/32"}, nil, []string{"172.10.0.7/32", ""}},
		"IPv6 has no broadcast":                           {[]string{"2001:db8::/126"}, nil, []string{"2001:db8::1/126", "2001:db8::2/126", "2001:db8::3/126", ""}},
		"up to the last one there is":                     {[]string{"255.255.255.252/30"}, nil, []string{"255.255.255.253/30", "255.255.255.254/30", ""}},
		"the next prefix when one is full":                {[]string{"172.10.0.0/32", "172.11.0.0/24"}, nil, []string{"172.10.0.0/32", "172.11.0.1/24"}},
		"none that the client excludes":                   {[]string{"172.10.0.0/24"}, []string{"172.10.0.0/29", "::/0", "x"}, []string{"172.10.0.8/24", "172.10.0.9/24"}},
		"nothing when all is excluded":                    {[]string{"10.0.0.0/8"}, []string{"0.0.0.0/0"}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			server := vlanIPAMOf(t, tc.prefixes...)
			for i, want := range tc.want {
				got, err := ask(t, server, string(rune('a'+i)), tc.excluded)
				if want == "" {
					require.ErrorIs(t, err, errNoVLANAddress)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, []string{want}, got)
			}
		})
	}
}

func TestAnAddressStaysWithItsConnection(t *testing.T) {
	server := vlanIPAMOf(t, "172.10.0.0/24")
	got, err := ask(t, server, "a", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.1/24"}, got)

	got, err = ask(t, server, "a", nil, got...)
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.1/24"}, got, "a refresh")

	got, err = ask(t, server, "a", []string{"172.10.0.0/30"}, got...)
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.4/24"}, got, "the client has come to exclude it")

	// The endpoint was started again and knows nothing.
	server = vlanIPAMOf(t, "172.10.0.0/24")
	got, err = ask(t, server, "b", nil, "192.0.2.1/32", "172.10.0.4/24")
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.1/32", "172.10.0.4/24"}, got, "a connection brings its address back")
	for _, hostile := range []string{"172.10.0.4/24", "172.10.0.0/24", "172.10.0.255/24", "172.10.0.9/8", "172.10.1.1/24", "x"} {
		got, err = ask(t, server, hostile, nil, hostile)
		require.NoError(t, err)
		require.Len(t, got, 2, "%s is not for it to keep", hostile)
	}
}

// failing stands for the rest of a chain.
type failing struct{ err error }

func (f failing) Request(context.Context, *networkservice.NetworkServiceRequest) (*networkservice.Connection, error) {
	return nil, f.err
}

func (f failing) Close(context.Context, *networkservice.Connection) (*emptypb.Empty, error) {
	return nil, f.err
}

func TestAFailedRequestTakesNoAddress(t *testing.T) {
	server := vlanIPAMOf(t, "172.10.0.0/24")
	fail := errors.New("no")
	_, err := chain.NewNetworkServiceServer(server, failing{fail}).Request(t.Context(), &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{Id: "a"},
	})
	require.ErrorIs(t, err, fail)
	got, err := ask(t, server, "b", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.1/24"}, got)

	_, err = chain.NewNetworkServiceServer(server).Close(t.Context(), &networkservice.Connection{Id: "b"})
	require.NoError(t, err)
	got, err = ask(t, server, "c", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.1/24"}, got, "a close frees it")
}
