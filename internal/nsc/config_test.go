// SPDX-License-Identifier: Apache-2.0

package nsc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"

	"github.com/nsm-afxdp/forwarder/internal/service"
)

func TestDefaultsAreTheStockOnes(t *testing.T) {
	t.Setenv("NSM_NETWORK_SERVICES", "kernel://service")
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Equal(t, "nsc", c.Name)
	require.Equal(t, "unix:///var/lib/networkservicemesh/nsm.io.sock", c.ConnectTo.String())
	require.Equal(t, 5*time.Second, c.DialTimeout)
	require.Equal(t, 15*time.Second, c.RequestTimeout)
	require.Equal(t, 10*time.Minute, c.MaxTokenLifetime)
	require.Equal(t, "kernel", c.Mechanism)
	require.True(t, c.MemifStack)
	require.Equal(t, "INFO", c.LogLevel)
	require.True(t, c.LocalDNSServerEnabled)
	require.Equal(t, "127.0.0.1:53", c.LocalDNSServerAddress)
	require.True(t, c.LivenessCheckEnabled)
	require.Equal(t, 200*time.Millisecond, c.LivenessCheckInterval)
	require.Equal(t, time.Second, c.LivenessCheckTimeout)
	require.Equal(t, "otel-collector.observability.svc.cluster.local:4317", c.OpenTelemetryEndpoint)
}

func TestEachServiceBecomesARequest(t *testing.T) {
	t.Setenv("NSM_NAME", "alpine")
	t.Setenv("NSM_LABELS", "app=web,tier=1")
	t.Setenv("NSM_NETWORK_SERVICES", "kernel://first@other.domain/nsm-1?tier=2&color=red,//second/nsm-2,kernel://third,memif://fourth/nsm-4")
	t.Setenv("NSM_AWARENESS_GROUPS", "[kernel://first@other.domain/nsm-1,kernel://third]")
	c := new(Config)
	require.NoError(t, service.Load(c))
	require.Len(t, c.AwarenessGroups, 1)
	requests, err := c.requests()
	require.NoError(t, err)
	require.Len(t, requests, 4)
	for i, want := range []struct {
		id, service, mechanism, iface string
		labels                        map[string]string
	}{
		{"alpine-0", "first@other.domain", "KERNEL", "nsm-1", map[string]string{"app": "web", "tier": "2", "color": "red"}},
		{"alpine-1", "second", "KERNEL", "nsm-2", map[string]string{"app": "web", "tier": "1"}},
		{"alpine-2", "third", "KERNEL", "", map[string]string{"app": "web", "tier": "1"}},
		{"alpine-3", "fourth", "MEMIF", "nsm-4", map[string]string{"app": "web", "tier": "1"}},
	} {
		conn := requests[i].GetConnection()
		require.Equal(t, want.id, conn.GetId())
		require.Equal(t, want.service, conn.GetNetworkService())
		require.Equal(t, want.labels, conn.GetLabels())
		require.Len(t, requests[i].GetMechanismPreferences(), 1)
		mechanism := requests[i].GetMechanismPreferences()[0]
		require.Equal(t, "LOCAL", mechanism.GetCls())
		require.Equal(t, want.mechanism, mechanism.GetType())
		require.Equal(t, want.iface, interfaceName(mechanism))
	}
}

func TestWhatCannotBeConnectedIsRefusedAtOnce(t *testing.T) {
	for name, test := range map[string]struct{ variable, value, want string }{
		"nothing":              {"NSM_NETWORK_SERVICES", "", "want at least one"},
		"another mechanism":    {"NSM_NETWORK_SERVICES", "vfio://service/nsm-1", `mechanism "vfio"`},
		"no service":           {"NSM_NETWORK_SERVICES", "kernel:///nsm-1", "no network service"},
		"long interface name":  {"NSM_NETWORK_SERVICES", "kernel://service/sixteen-chars-xx", "longer than 15"},
		"label without value":  {"NSM_LABELS", "app", "want key=value"},
		"default of memif":     {"NSM_MECHANISM", "memif", ""},
		"name server unparsed": {"NSM_LOCAL_DNS_SERVER_ADDRESS", "localhost", "NSM_LOCAL_DNS_SERVER_ADDRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NSM_NETWORK_SERVICES", "kernel://service/nsm-1")
			t.Setenv(test.variable, test.value)
			err := service.Load(new(Config))
			if test.want == "" {
				require.NoError(t, err, "the default is for URLs without a scheme")
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestOnlyWhatWasAskedForIsTakenOver(t *testing.T) {
	request := func() *networkservice.NetworkServiceRequest {
		mechanism := kernel.New("")
		kernel.ToMechanism(mechanism).SetInterfaceName("nsm-1")
		return &networkservice.NetworkServiceRequest{
			Connection:           &networkservice.Connection{Id: "nsc-0", NetworkService: "service"},
			MechanismPreferences: []*networkservice.Mechanism{mechanism},
		}
	}
	existing := func(change func(*networkservice.Connection)) *networkservice.Connection {
		conn := &networkservice.Connection{
			Id: "at-the-nsmgr", NetworkService: "service", Mechanism: request().GetMechanismPreferences()[0],
			Path: &networkservice.Path{Index: 1, PathSegments: []*networkservice.PathSegment{{Id: "nsc-0"}, {Id: "at-the-nsmgr"}, {Id: "forwarder"}}},
		}
		change(conn)
		return conn
	}
	for name, test := range map[string]struct {
		change func(*networkservice.Connection)
		want   bool
	}{
		"the same":           {func(*networkservice.Connection) {}, true},
		"another client":     {func(c *networkservice.Connection) { c.Path.PathSegments[0].Id = "nsc-00" }, false},
		"a later hop":        {func(c *networkservice.Connection) { c.Path.Index = 2 }, false},
		"another service":    {func(c *networkservice.Connection) { c.NetworkService = "other" }, false},
		"another mechanism":  {func(c *networkservice.Connection) { c.Mechanism.Type = "MEMIF" }, false},
		"another interface":  {func(c *networkservice.Connection) { kernel.ToMechanism(c.Mechanism).SetInterfaceName("nsm-2") }, false},
		"no path":            {func(c *networkservice.Connection) { c.Path = nil }, false},
		"index without path": {func(c *networkservice.Connection) { c.Path.PathSegments = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, adoptable(existing(test.change), request()))
		})
	}
	theirs := existing(func(*networkservice.Connection) {})
	ours := asOurs(theirs, "nsc-0")
	require.Equal(t, "nsc-0", ours.GetId())
	require.Equal(t, uint32(0), ours.GetPath().GetIndex())
	require.Len(t, ours.GetPath().GetPathSegments(), 3)
	require.Equal(t, uint32(1), theirs.GetPath().GetIndex(), "the event was changed")
}
