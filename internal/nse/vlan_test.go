// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

// vlanConfig is loaded from the environment of a VLAN endpoint.
func vlanConfig(t *testing.T, env map[string]string) (*Config, error) {
	t.Helper()
	for name, value := range map[string]string{
		"NSM_CONNECT_TO":  "tcp://registry:5002",
		"NSM_SERVICES":    "finance-bridge { vlan: 100; via: gw-1 }",
		"NSM_CIDR_PREFIX": "172.10.0.0/24",
	} {
		t.Setenv(name, value)
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
	c := new(Config)
	return c, service.Load(c)
}

func TestServicesThatAreVLANs(t *testing.T) {
	c, err := vlanConfig(t, map[string]string{
		"NSM_SERVICES": "finance-bridge { domain: service-domain.2; vlan: 100; via: gw-1 },plain{via:gw-2;labels:color=red&size=2}",
		"NSM_LABELS":   "app:vlan",
	})
	require.NoError(t, err)
	require.Equal(t, []vlanService{
		{Name: "finance-bridge", ID: 100, Via: "gw-1", Domain: "service-domain.2"},
		{Name: "plain", Via: "gw-2", Labels: map[string]string{"color": "red", "size": "2"}},
	}, c.Services)
	require.Equal(t, "tcp://:5003", c.ListenOn.String())

	registration := c.registration(publicURL(&url.URL{Scheme: "tcp", Host: "192.0.2.7:5003"}))
	require.Equal(t, []string{"finance-bridge", "plain"}, registration.GetNetworkServiceNames())
	require.Equal(t, "tcp://192.0.2.7:5003", registration.GetUrl())
	labels := registration.GetNetworkServiceLabels()
	require.Equal(t, map[string]string{"app": "vlan"}, labels["finance-bridge"].GetLabels())
	require.Equal(t, map[string]string{"color": "red", "size": "2"}, labels["plain"].GetLabels())
}

func TestVLANServicesThatMakeNoSenseAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ variable, value, want string }{
		"no braces":            {"NSM_SERVICES", "finance", "want NAME { vlan: ID; via: LABEL }"},
		"not closed":           {"NSM_SERVICES", "finance { vlan: 1; via: x", "want NAME {"},
		"text behind":          {"NSM_SERVICES", "finance { vlan: 1; via: x } y", "want NAME {"},
		"no name":              {"NSM_SERVICES", "{ vlan: 1; via: x }", "without a name"},
		"no via":               {"NSM_SERVICES", "finance { vlan: 1 }", "via is missing"},
		"no number":            {"NSM_SERVICES", "finance { vlan: one; via: x }", `"one" is not between 0 and 4094`},
		"reserved id":          {"NSM_SERVICES", "finance { vlan: 4095; via: x }", `"4095" is not between`},
		"negative":             {"NSM_SERVICES", "finance { vlan: -1; via: x }", `"-1" is not between`},
		"unknown key":          {"NSM_SERVICES", "finance { vlan: 1; via: x; qinq: 2 }", "want vlan, via, domain or labels"},
		"no key":               {"NSM_SERVICES", "finance { via }", "want key: value"},
		"label without value":  {"NSM_SERVICES", "finance { via: x; labels: a }", "want name=value"},
		"twice":                {"NSM_SERVICES", "finance { via: x },finance { via: y }", "finance is there twice"},
		"on a socket file":     {"NSM_LISTEN_ON", "unix:///listen.on.sock", "want tcp://ADDRESS:PORT"},
		"at the node's nsmgr":  {"NSM_CONNECT_TO", "unix:///var/lib/networkservicemesh/nsm.io.sock", "with the registry itself"},
		"no prefix to give of": {"NSM_CIDR_PREFIX", "", "at least one"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := vlanConfig(t, map[string]string{tc.variable: tc.value})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestAHostThatIsLeftOutBecomesAnAddress(t *testing.T) {
	for _, host := range []string{":5003", "0.0.0.0:5003", "[::]:5003"} {
		u := publicURL(&url.URL{Scheme: "tcp", Host: host})
		require.Equal(t, "5003", u.Port())
		require.Equal(t, "tcp", u.Scheme)
	}
	for _, text := range []string{"tcp://192.0.2.1:5003", "tcp://[2001:db8::1]:5003", "tcp://vlan.nsm-system:5003", "unix:///tmp/listen.on"} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		require.Equal(t, text, publicURL(u).String())
	}
}

func vlanRequest(id, service string) *networkservice.NetworkServiceRequest {
	return &networkservice.NetworkServiceRequest{
		Connection: &networkservice.Connection{
			Id: id, NetworkService: service, Labels: map[string]string{"app": "alpine"},
			Context: &networkservice.ConnectionContext{MTU: 9000},
		},
		MechanismPreferences: []*networkservice.Mechanism{
			{Cls: cls.REMOTE, Type: "VXLAN"}, {Cls: cls.REMOTE, Type: vlanmech.MECHANISM},
		},
	}
}

func TestAClientLearnsItsVLANAndItsAddress(t *testing.T) {
	c, err := vlanConfig(t, map[string]string{"NSM_CIDR_PREFIX": "[172.10.0.0/24],[2001:db8::/64]"})
	require.NoError(t, err)
	server := chain.NewNetworkServiceServer(append([]networkservice.NetworkServiceServer{
		updatepath.NewServer("nse"), metadata.NewServer(),
	}, c.vlanElements()...)...)
	for i, want := range [][]string{
		{"172.10.0.1/24", "2001:db8::1/64"}, {"172.10.0.2/24", "2001:db8::2/64"},
	} {
		id := string(rune('a' + i))
		conn, err := server.Request(t.Context(), vlanRequest(id, "finance-bridge"))
		require.NoError(t, err)
		require.EqualValues(t, 100, vlanmech.ToMechanism(conn.GetMechanism()).GetVlanID())
		require.Equal(t, map[string]string{"app": "alpine", "via": "gw-1"}, conn.GetLabels())
		require.Zero(t, conn.GetContext().GetMTU(), "the forwarder knows the device")
		require.Equal(t, want, conn.GetContext().GetIpContext().GetSrcIpAddrs())
		require.Empty(t, conn.GetContext().GetIpContext().GetDstIpAddrs())
		require.Empty(t, conn.GetContext().GetIpContext().GetSrcRoutes())

		again, err := server.Request(t.Context(), &networkservice.NetworkServiceRequest{Connection: conn.Clone()})
		require.NoError(t, err)
		require.Equal(t, want, again.GetContext().GetIpContext().GetSrcIpAddrs(), "a refresh changes nothing")
	}

	_, err = server.Request(t.Context(), vlanRequest("c", "another"))
	require.ErrorContains(t, err, `network service "another" is not served here`)
	other := vlanRequest("d", "finance-bridge")
	other.MechanismPreferences = other.GetMechanismPreferences()[:1]
	_, err = server.Request(t.Context(), other)
	require.Error(t, err, "a forwarder that has no VLAN")

	conn, err := server.Request(t.Context(), vlanRequest("e", "finance-bridge"))
	require.NoError(t, err)
	require.Equal(t, []string{"172.10.0.3/24", "2001:db8::3/64"}, conn.GetContext().GetIpContext().GetSrcIpAddrs(),
		"those who were refused have no address")
	_, err = server.Close(t.Context(), conn)
	require.NoError(t, err)
}

func FuzzVLANService(f *testing.F) {
	f.Add("finance-bridge { domain: service-domain.2; vlan: 100; via: gw-1; labels: a=b&c=d }")
	f.Add("{}{}")
	f.Add("a{via:x;vlan:0x1fff}")
	f.Fuzz(func(t *testing.T, text string) {
		var s vlanService
		if s.Decode(text) == nil && (s.Name == "" || s.Via == "" || s.ID > 4094) {
			t.Errorf("%q became %+v", text, s)
		}
	})
}
