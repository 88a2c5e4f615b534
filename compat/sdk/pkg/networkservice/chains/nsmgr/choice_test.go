// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
)

func TestNextForwarderIsTriedWhenOneFails(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	broken := n.startForwarder("forwarder-1", map[string]string{"p2p": "true"})
	broken.broken.Store(true)
	n.startForwarder("forwarder-2", map[string]string{"p2p": "true"})
	n.startNSE("nse-a", "172.16.1.0/24", nil)

	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	require.Equal(t, []string{"nsc", "nsmgr-a", "forwarder-2", "nse-a"}, names(conn))
	require.EqualValues(t, 1, broken.requests.Load())

	// It stays with the forwarder that works.
	broken.broken.Store(false)
	conn = n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
	require.Equal(t, "forwarder-2", names(conn)[2])
	require.EqualValues(t, 1, broken.requests.Load())
	n.close(nsc, conn)
}

func TestForwarderLabels(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.startForwarder("forwarder-plain", map[string]string{"p2p": "true"})
	n.startForwarder("forwarder-sriov", map[string]string{"sriov": "true"})
	n.startNSE("nse-a", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")

	for _, c := range []struct {
		name     string
		metadata *registry.Metadata
		want     string
	}{
		{"a match without metadata means p2p", nil, "forwarder-plain"},
		{"a match names the label", &registry.Metadata{Labels: map[string]string{"sriov": "true"}}, "forwarder-sriov"},
	} {
		n.registerService(&registry.NetworkService{Name: service, Payload: "IP", Matches: []*registry.Match{
			{Metadata: c.metadata, Routes: []*registry.Destination{{}}},
		}})
		conn := n.connect(nsc, request("nsc-0"))
		require.Equal(t, c.want, names(conn)[2], c.name)
		n.close(nsc, conn)
	}
}

func TestForwarderRestart(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	f := n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	e := n.startNSE("nse-a", "172.16.1.0/24", nil)
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	eventually(t, func() bool { return n.monitors.Load() > 0 }, "the client watches its connection")

	requests := e.requests.Load()
	f.Kill()
	start := time.Now()
	f = n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	eventually(t, func() bool { return e.requests.Load() > requests }, "the new forwarder asks the endpoint")
	t.Logf("restored after %v", time.Since(start))
	refreshed := n.connect(nsc, &networkservice.NetworkServiceRequest{Connection: conn})
	require.Equal(t, names(conn), names(refreshed))
	require.Positive(t, f.requests.Load())
	n.close(nsc, refreshed)
}

func TestClientWaitsForTheEndpoint(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	f := n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	nsc := n.newNSC("nsc")

	// Nobody comes: the error says who was missed.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	_, err := nsc.Request(ctx, request("nsc-0"))
	cancel()
	require.ErrorContains(t, err, "discover an endpoint for network service my-service: not found")

	done := make(chan *networkservice.Connection, 1)
	asked := f.requests.Load()
	go func() { done <- n.connect(nsc, request("nsc-1")) }()
	n.startNSE("nse-a", "172.16.1.0/24", nil)
	conn := <-done
	require.Equal(t, "nse-a", conn.GetNetworkServiceEndpointName())
	require.EqualValues(t, asked+1, f.requests.Load(), "one request was enough")
	n.close(nsc, conn)
}

func TestNetworkServiceThatNoLongerAdmitsTheEndpoint(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	to := func(app string) *registry.NetworkService {
		return &registry.NetworkService{Name: service, Payload: "IP", Matches: []*registry.Match{
			{Routes: []*registry.Destination{{DestinationSelector: map[string]string{"app": app}}}},
		}}
	}
	n.registerService(to("one"))
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	one := n.startNSE("nse-1", "172.16.1.0/24", map[string]string{"app": "one"})
	two := n.startNSE("nse-2", "172.16.2.0/24", map[string]string{"app": "two"})
	nsc := n.newNSC("nsc")
	conn := n.connect(nsc, request("nsc-0"))
	require.Equal(t, "nse-1", conn.GetNetworkServiceEndpointName())
	eventually(t, func() bool { return n.monitors.Load() > 0 }, "the client watches its connection")

	n.registerService(to("two"))
	eventually(t, func() bool { return one.closes.Load() > 0 }, "the connection is closed")
	eventually(t, func() bool { return two.requests.Load() > 0 }, "the client asks for another endpoint")
	n.close(nsc, conn)
}

func TestUnregisteredEndpointIsNotFound(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	e := n.startNSE("nse-a", "172.16.1.0/24", nil)
	require.Equal(t, []string{"spiffe://test/nse-a", "spiffe://test/nsmgr-a", "spiffe://test/registry"}, e.registration.GetPathIds())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := e.registry.Unregister(ctx, e.registration.Clone())
	require.NoError(t, err)

	short, cancelShort := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancelShort()
	_, err = n.newNSC("nsc").Request(short, request("nsc-0"))
	require.ErrorContains(t, err, "not found")
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestConnectionsLeaveNoFilesOpen(t *testing.T) {
	noLeaks(t)
	m := newMesh(t)
	a, b := m.newNode("a", "10.0.0.1"), m.newNode("b", "10.0.0.2")
	a.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	a.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	b.startForwarder("forwarder-b", map[string]string{"p2p": "true"})
	a.startNSE("nse-a", "172.16.1.0/24", nil)
	b.startNSE("nse-b", "172.16.2.0/24", nil)
	nsc := a.newNSC("nsc")
	upAndDown := func(times int) {
		for range times {
			a.close(nsc, a.connect(nsc, request("nsc-0")))
		}
	}
	upAndDown(4) // connections between the processes stay open
	before := openFiles(t)
	upAndDown(40)
	eventually(t, func() bool { return openFiles(t) <= before+2 }, "descriptors are closed")
}

func TestEndpointsLeaveNoFilesOpen(t *testing.T) {
	noLeaks(t)
	n := newMesh(t).newNode("a", "10.0.0.1")
	n.registerService(&registry.NetworkService{Name: service, Payload: "IP"})
	n.startForwarder("forwarder-a", map[string]string{"p2p": "true"})
	nsc := n.newNSC("nsc")
	comeAndGo := func(names ...string) {
		for _, name := range names {
			e := n.startNSE(name, "172.16.1.0/24", nil)
			n.close(nsc, n.connect(nsc, request("nsc-"+name)))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			_, err := e.registry.Unregister(ctx, e.registration.Clone())
			cancel()
			require.NoError(t, err)
			e.Kill()
		}
	}
	comeAndGo("1", "2", "3")
	before := openFiles(t)
	comeAndGo("4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15")
	eventually(t, func() bool { return openFiles(t) <= before+3 }, "the endpoints' sockets are closed")
}
