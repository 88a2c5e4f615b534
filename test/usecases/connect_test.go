// SPDX-License-Identifier: Apache-2.0

package usecases

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
)

// useCase is what tests of faults connect: a client on the first node, and an
// endpoint on the same or on the other, both with kernel interfaces.
type useCase struct {
	name    string
	payload string
	remote  bool
}

var (
	clientAddr   = netip.MustParseAddr("172.16.1.101")
	endpointAddr = netip.MustParseAddr("172.16.1.100")
)

const cidr = "172.16.1.100/31"

// linked is a client and an endpoint that are connected.
type linked struct {
	nsc *lab.Client
	nse *lab.Endpoint
}

// link starts an endpoint and a client of a use case and waits until they are
// connected. Each use case has a name of its own in its lab.
func link(t *testing.T, l *lab.Lab, u useCase) linked {
	t.Helper()
	k := linked{nse: startEndpoint(t, l, u), nsc: startClient(t, l, u)}
	require.NoError(t, k.nsc.AwaitConnected(within(t, 20*time.Second)))
	return k
}

func startEndpoint(t *testing.T, l *lab.Lab, u useCase) *lab.Endpoint {
	t.Helper()
	node := l.Nodes[0]
	if u.remote {
		node = l.Nodes[1]
	}
	nse, err := node.StartEndpoint(within(t, 10*time.Second), "nse-"+u.name,
		lab.Service{Name: u.name, Payload: u.payload, CIDR: cidr}, nil)
	require.NoError(t, err)
	return nse
}

func startClient(t *testing.T, l *lab.Lab, u useCase) *lab.Client {
	t.Helper()
	nsc, err := l.Nodes[0].StartClient("nsc-"+u.name, "kernel://"+u.name+"/nsm-1", nil)
	require.NoError(t, err)
	return nsc
}

// requirePing pings both ways and loses nothing.
func (k linked) requirePing(t *testing.T) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	for from, to := range map[*lab.Namespace]netip.Addr{k.nsc.Pod: endpointAddr, k.nse.Pod: clientAddr} {
		out, err := lab.Ping(ctx, from, to, 5)
		require.NoError(t, err)
		require.Contains(t, out, " 0% packet loss")
	}
}

// listens reports whether a TCP socket of the pod listens on the port.
func listens(t *testing.T, pod *lab.Namespace, port int) bool {
	t.Helper()
	out, err := lab.Run(within(t, 5*time.Second), pod.Path, "ss", "-Hltn", fmt.Sprintf("sport = :%d", port))
	require.NoError(t, err)
	return out != ""
}
