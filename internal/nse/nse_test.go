// SPDX-License-Identifier: Apache-2.0

package nse

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/sdk/pkg/networkservice/common/updatepath"
	"github.com/networkservicemesh/sdk/pkg/networkservice/core/chain"
	"github.com/networkservicemesh/sdk/pkg/networkservice/ipam/groupipam"
	"github.com/networkservicemesh/sdk/pkg/networkservice/utils/metadata"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestDefaultsAreTheStockOnes(t *testing.T) {
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Equal(t, "icmp-server", c.Name)
	require.Equal(t, "unix:///var/lib/networkservicemesh/nsm.io.sock", c.ConnectTo.String())
	require.Equal(t, 10*time.Minute, c.MaxTokenLifetime)
	require.Equal(t, "polite", c.IPAMPolicy)
	require.Equal(t, []string{"icmp-responder"}, c.ServiceNames)
	require.Equal(t, "ETHERNET", c.Payload)
	require.Empty(t, c.DNSConfigs)
	require.Len(t, c.CIDRPrefix, 1)
	require.Equal(t, "169.254.0.0/16", c.CIDRPrefix[0][0].String())
	require.Zero(t, c.IdleTimeout)
	require.True(t, c.RegisterService)
	require.False(t, c.UnregisterItself)
	require.Equal(t, "/etc/policy-based-routing/config.yaml", c.PBRConfigPath)
	require.Equal(t, []string{"kernel"}, c.Mechanism)
	require.True(t, c.MemifStack)
	require.False(t, c.INETServices)
}

func TestListsAndGroupsAreRead(t *testing.T) {
	t.Setenv("NSM_SERVICE_NAMES", "a,b")
	t.Setenv("NSM_LABELS", "app:web")
	t.Setenv("NSM_CIDR_PREFIX", "[172.16.1.0/24,2001:db8::/116],[10.0.0.0/8]")
	t.Setenv("NSM_DNS_CONFIGS", `[{"dns_server_ips":["10.0.0.1"],"search_domains":["my.service"]}]`)
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Len(t, c.CIDRPrefix, 2)
	require.Equal(t, "2001:db8::/116", c.CIDRPrefix[0][1].String())
	require.Equal(t, []string{"10.0.0.1"}, c.DNSConfigs[0].GetDnsServerIps())

	registration := c.registration(&url.URL{Scheme: "unix", Path: "/tmp/listen.on"})
	require.Equal(t, []string{"a", "b"}, registration.GetNetworkServiceNames())
	require.Equal(t, "unix:///tmp/listen.on", registration.GetUrl())
	for _, name := range []string{"a", "b"} {
		require.Equal(t, map[string]string{"app": "web"}, registration.GetNetworkServiceLabels()[name].GetLabels())
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for variable, test := range map[string]struct{ value, want string }{
		"NSM_IPAM_POLICY":   {"rude", "polite or strict"},
		"NSM_PAYLOAD":       {"ATM", "ETHERNET or IP"},
		"NSM_SERVICE_NAMES": {"", "at least one"},
		"NSM_CIDR_PREFIX":   {"172.16.1.0", "NSM_CIDR_PREFIX"},
		"NSM_DNS_CONFIGS":   {"{", "NSM_DNS_CONFIGS"},
		"NSM_IDLE_TIMEOUT":  {"never", "NSM_IDLE_TIMEOUT"},
		"NSM_MECHANISM":     {"kernel,vfio", `"vfio": want kernel, memif or both`},
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, test.value)
			require.ErrorContains(t, service.Load(new(Config)), test.want)
		})
	}
}

func TestBothPoliciesGiveAddresses(t *testing.T) {
	t.Setenv("NSM_CIDR_PREFIX", "172.16.1.100/31")
	for _, policy := range []string{"polite", "strict"} {
		t.Setenv("NSM_IPAM_POLICY", policy)
		c := new(Config)
		require.NoError(t, service.Load(c))
		request := &networkservice.NetworkServiceRequest{Connection: &networkservice.Connection{Id: "a"}}
		_, err := chained(c).Request(t.Context(), request)
		require.NoError(t, err, policy)
		ip := request.GetConnection().GetContext().GetIpContext()
		require.Equal(t, []string{"172.16.1.100/32"}, ip.GetDstIpAddrs(), policy)
		require.Equal(t, []string{"172.16.1.101/32"}, ip.GetSrcIpAddrs(), policy)
	}
}

func TestPolicyRoutesFollowTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	get := watchPolicies(t.Context(), path)
	require.Empty(t, get())

	write := func(content string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o644)) }
	write(`
- proto: 6
  dstport: "6666"
  from: 172.16.2.201/24
- proto: "17"
  srcport: 1000-2000
  routes:
    - prefix: 172.16.3.0/24
      nexthop: 172.16.2.200
`)
	require.Eventually(t, func() bool { return len(get()) == 2 }, 5*time.Second, 5*time.Millisecond)
	routes := get()
	require.Equal(t, "6", routes[0].GetProto())
	require.Equal(t, "6666", routes[0].GetDstPort())
	require.Equal(t, "172.16.2.201/24", routes[0].GetFrom())
	require.Equal(t, "1000-2000", routes[1].GetSrcPort())
	require.Equal(t, "172.16.2.200", routes[1].GetRoutes()[0].GetNextHop())

	for _, bad := range []string{"- protocol: 6\n", "a: b", "["} {
		_, err := parsePolicies([]byte(bad))
		require.Error(t, err, bad)
	}
	write("[]\n")
	require.Eventually(t, func() bool { return len(get()) == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestAPodWithoutPolicyRoutesIsLeftAsItIs(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "policy-based-routing")
	require.Empty(t, watchPolicies(t.Context(), filepath.Join(missing, "config.yaml"))())
	_, err := os.Stat(missing)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// chained is the endpoint's IPAM as it stands in the chain.
func chained(c *Config) networkservice.NetworkServiceServer {
	return chain.NewNetworkServiceServer(
		updatepath.NewServer("nse"),
		metadata.NewServer(),
		groupipam.NewServer(c.CIDRPrefix, groupipam.WithCustomIPAMServer(c.ipam)),
	)
}
