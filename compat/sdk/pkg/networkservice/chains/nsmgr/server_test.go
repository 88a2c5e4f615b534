// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	kernelmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/kernel"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
	"github.com/networkservicemesh/api/pkg/api/registry"

	"github.com/networkservicemesh/sdk/pkg/internal/sandbox"
)

func names(conn *networkservice.Connection) []string {
	var list []string
	for _, segment := range conn.GetPath().GetPathSegments() {
		list = append(list, segment.GetName())
	}
	return list
}

// noLeaks runs after the test's other cleanups.
func noLeaks(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

func TestLocalConnection(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	f := n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	e := n.startNSE("nse-a", "172.16.1.100/31", nil)

	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	require.Equal(t, []string{"nsc", "nsmgr-a", "forwarder-a", "nse-a"}, names(conn))
	require.Equal(t, "nse-a", conn.GetNetworkServiceEndpointName())
	require.Equal(t, "IP", conn.GetPayload())
	require.Equal(t, kernelmech.MECHANISM, conn.GetMechanism().GetType())
	require.Equal(t, "file:///proc/thread-self/ns/net", conn.GetMechanism().GetParameters()[common.InodeURL])

	ipContext := conn.GetContext().GetIpContext()
	require.Equal(t, []string{"172.16.1.101/32"}, ipContext.GetSrcIpAddrs())
	require.Equal(t, []string{"172.16.1.100/32"}, ipContext.GetDstIpAddrs())
	require.Equal(t, "172.16.1.100/32", ipContext.GetSrcRoutes()[0].GetPrefix())
	require.Equal(t, "172.16.1.101/32", ipContext.GetDstRoutes()[0].GetPrefix())

	// Both sides of the forwarder could open the namespaces that they were sent.
	for _, mechanism := range []*networkservice.Mechanism{f.server.Load(), f.client.Load()} {
		require.True(t, strings.HasPrefix(mechanism.GetParameters()[common.InodeURL], "file:///proc/"), mechanism)
		require.NotContains(t, mechanism.GetParameters()[common.InodeURL], "thread-self")
	}

	server, client := f.server.Load(), f.client.Load()
	refreshed := n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
	require.Equal(t, names(conn), names(refreshed))
	require.Equal(t, ipContext.String(), refreshed.GetContext().GetIpContext().String(), "addresses stay")
	require.Equal(t, server.String(), f.server.Load().String(), "the same path stands for the client's namespace")
	require.Equal(t, client.String(), f.client.Load().String(), "the same path stands for the endpoint's namespace")
	require.EqualValues(t, 2, e.requests.Load())

	n.close(nsc, refreshed)
	require.EqualValues(t, 1, e.closes.Load())
	require.EqualValues(t, 1, f.closes.Load())

	again := n.connect(nsc, request("nsc-1"))
	require.Equal(t, []string{"172.16.1.101/32"}, again.GetContext().GetIpContext().GetSrcIpAddrs(), "addresses were released")
	n.close(nsc, again)
}

func TestRemoteConnection(t *testing.T) {
	noLeaks(t)
	m := newMesh(t)
	a, b := m.newNode("a", "10.0.0.1"), m.newNode("b", "10.0.0.2")
	a.registerService(&registry.NetworkService{Name: service, Payload: "ETHERNET"})
	fa := a.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	fb := b.startForwarder("forwarder-b", map[string]string{"p2p": "true"})
	e := b.startNSE("nse-b", "172.16.1.0/24", nil)

	nsc := a.newNSC("nsc")
	conn := a.connect(nsc, request("nsc-0"))
	require.Equal(t, []string{"nsc", "nsmgr-a", "forwarder-a", "nsmgr-b", "forwarder-b", "nse-b"}, names(conn))
	require.Equal(t, "ETHERNET", conn.GetPayload())

	tunnel := vxlan.ToMechanism(fa.client.Load())
	require.NotNil(t, tunnel, "between nodes only remote mechanisms are offered")
	require.Equal(t, "10.0.0.1", tunnel.SrcIP().String())
	require.Equal(t, "10.0.0.2", tunnel.DstIP().String())
	require.EqualValues(t, 4789, tunnel.DstPort())
	require.NotZero(t, tunnel.VNI())
	require.Zero(t, tunnel.VNI()%2, "even, for the source is the lower address")
	require.Equal(t, tunnel.VNI(), vxlan.ToMechanism(fb.server.Load()).VNI())

	refreshed := a.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
	require.Equal(t, tunnel.VNI(), vxlan.ToMechanism(fa.client.Load()).VNI(), "the VNI is kept on refresh")
	a.close(nsc, refreshed)
	require.EqualValues(t, 1, e.closes.Load())
	require.EqualValues(t, 1, fb.closes.Load())
}

func TestEndpointDeathHealsToAnother(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	first := n.startNSE("nse-1", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	require.Equal(t, "nse-1", conn.GetNetworkServiceEndpointName())

	second := n.startNSE("nse-2", "172.16.2.0/24", nil)
	eventually(t, func() bool { return n.monitors.Load() > 0 }, "the client watches its connection")
	start := time.Now()
	first.Kill()
	eventually(t, func() bool { return second.requests.Load() > 0 }, "the other endpoint is asked")
	t.Logf("healed after %v", time.Since(start))
	eventually(t, func() bool {
		refreshed := n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
		return refreshed.GetNetworkServiceEndpointName() == "nse-2"
	}, "the connection has the other endpoint")
	n.close(nsc, conn)
}

func TestRegistryRestart(t *testing.T) {
	noLeaks(t)
	m := newMesh(t)
	n := m.newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	n.startNSE("nse-a", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))

	m.registry.Kill()
	m.startRegistry()
	start := time.Now()
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	other := n.newNSC("nsc-b")
	var connected *networkservice.Connection
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var err error
		connected, err = other.Request(ctx, request("nsc-b-0"))
		return err == nil
	}, "endpoint and forwarder are registered again")
	took := time.Since(start)
	t.Logf("a new connection %v after the registry came back", took)
	require.Less(t, took, 2*time.Second)

	n.close(other, connected)
	n.close(nsc, n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn}))
}

func TestNSMgrRestart(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	f := n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	e := n.startNSE("nse-a", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	eventually(t, func() bool { return n.monitors.Load() > 0 }, "the client watches its connection")

	n.nsmgr.Kill()
	requests := e.requests.Load()
	start := time.Now()
	n.startNSMgr()
	eventually(t, func() bool { return e.requests.Load() > requests }, "the connection is restored")
	t.Logf("the endpoint is asked again %v after the nsmgr came back", time.Since(start))
	refreshed := n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
	require.Equal(t, names(conn), names(refreshed))
	require.Equal(t, conn.GetContext().GetIpContext().GetSrcIpAddrs(), refreshed.GetContext().GetIpContext().GetSrcIpAddrs())
	require.Positive(t, f.requests.Load())
	n.close(nsc, refreshed)
}

func TestNSMgrWithoutARegistry(t *testing.T) {
	noLeaks(t)
	n := (&mesh{t: t, authority: sandbox.NewAuthority(t)}).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	n.startNSE("nse-a", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	require.Equal(t, []string{"nsc", "nsmgr-a", "forwarder-a", "nse-a"}, names(conn))
	n.close(nsc, conn)
}
