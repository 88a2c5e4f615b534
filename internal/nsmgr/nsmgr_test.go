// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestDefaultsAreTheStockOnes(t *testing.T) {
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Equal(t, "nmgr", c.Name)
	require.Equal(t, []url.URL{{Scheme: "unix", Path: "/var/lib/networkservicemesh/nsm.io.sock"}}, c.ListenOn)
	require.Equal(t, "tcp://localhost:5001", c.RegistryURL.String())
	require.Equal(t, 10*time.Minute, c.MaxTokenLifetime)
	require.Equal(t, 750*time.Millisecond, c.DialTimeout)
	require.Equal(t, "forwarder", c.ForwarderNetworkServiceName)
	require.Equal(t, "INFO", c.LogLevel)
	require.Equal(t, []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/server/.*.rego"}, c.RegistryServerPolicies)
	require.Equal(t, []string{"etc/nsm/opa/common/.*.rego", "etc/nsm/opa/registry/.*.rego", "etc/nsm/opa/client/.*.rego"}, c.RegistryClientPolicies)
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	t.Setenv("NSM_REGISTRY_URL", "")
	require.ErrorContains(t, service.Load(new(Config)), "NSM_REGISTRY_URL")
	t.Setenv("NSM_REGISTRY_URL", "tcp://registry:5002")
	t.Setenv("NSM_LISTEN_ON", "")
	require.ErrorContains(t, service.Load(new(Config)), "NSM_LISTEN_ON")
}

func TestOtherNodesGetTheTCPAddress(t *testing.T) {
	unix := url.URL{Scheme: "unix", Path: "/nsm.sock"}
	for _, test := range []struct {
		name string
		urls []url.URL
		want string
	}{
		{"unix and tcp", []url.URL{unix, {Scheme: "tcp", Host: "192.0.2.1:5001"}}, "tcp://192.0.2.1:5001"},
		{"tcp first", []url.URL{{Scheme: "tcp", Host: "192.0.2.1:5001"}, unix}, "tcp://192.0.2.1:5001"},
		{"unix only", []url.URL{unix}, "unix:///nsm.sock"},
	} {
		require.Equal(t, test.want, publicURL(test.urls).String(), test.name)
	}
	wildcard := publicURL([]url.URL{{Scheme: "tcp", Host: ":5001"}})
	host, port, err := net.SplitHostPort(wildcard.Host)
	require.NoError(t, err)
	require.Equal(t, "5001", port)
	if ip := net.ParseIP(host); host != "" {
		require.False(t, ip.IsLoopback() || ip.IsUnspecified(), "other nodes cannot reach %s", wildcard)
	}
}

func TestHelpListsTheVariables(t *testing.T) {
	var out bytes.Buffer
	require.Equal(t, service.ExitOK, Program().Execute(t.Context(), []string{"--help"}, &out, &out))
	for _, want := range []string{"NSM_REGISTRY_URL  URL (tcp://localhost:5001)", "NSM_LISTEN_ON  Comma-separated list of URL", "NSM_LOG_LEVEL"} {
		require.Contains(t, out.String(), want)
	}
}
