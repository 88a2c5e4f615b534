// SPDX-License-Identifier: Apache-2.0

// Package interop puts the embedded plane on one node and something that is not
// ours on the other: Linux's VXLAN device, Debian's wireguard-go. tcpdump, which
// is not ours either, reads what is on the wire.
package interop

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/internal/lab"
	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/embedded"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// underlay is the addresses of the two nodes.
type underlay struct {
	name       string
	ours, peer netip.Addr
	bits       int
	vxlanMTU   int // inner MTU that the underlay's 1500 leaves
	wgMTU      int
}

var underlays = []underlay{
	{"IPv4", netip.MustParseAddr("10.98.0.1"), netip.MustParseAddr("10.98.0.2"), 24, 1446, 1440},
	{"IPv6", netip.MustParseAddr("fd00:98::1"), netip.MustParseAddr("fd00:98::2"), 64, 1426, 1420},
}

// Addresses inside the tunnels.
var (
	podAddr  = netip.MustParsePrefix("172.20.0.1/24")
	peerAddr = netip.MustParsePrefix("172.20.0.2/24")
)

// world is our node with a pod, and a peer's node.
type world struct {
	underlay
	node, peer, pod string // paths of network namespaces

	classifier *classifier.Classifier
	uplink     *uplink.Uplink
	plane      *embedded.Plane
}

func newWorld(t *testing.T, u underlay) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	w := &world{underlay: u, node: newNamespace(t), peer: newNamespace(t), pod: newNamespace(t)}
	w.run(t, w.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", w.peer)
	for ns, addr := range map[string]netip.Addr{w.node: u.ours, w.peer: u.peer} {
		w.run(t, ns, "ip", "addr", "add", netip.PrefixFrom(addr, u.bits).String(), "dev", "eth0", "nodad")
		w.run(t, ns, "ip", "link", "set", "eth0", "up")
	}
	// A veth hands over what Linux sends with checksums that a NIC would have
	// finished; the wire that it stands for would not.
	requireTool(t, "ethtool")
	w.run(t, w.peer, "ethtool", "-K", "eth0", "tx", "off")

	var err error
	require.NoError(t, netns.Do(w.node, func() error {
		w.classifier, err = classifier.Attach(classifier.Config{Interface: "eth0"})
		return err
	}))
	t.Cleanup(func() { require.NoError(t, w.classifier.Detach()) })
	w.uplink, err = uplink.Open(uplink.Config{Tunnel: u.ours, NetNS: w.node})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.uplink.Close()) })
	var sockets *xsk.Set
	require.NoError(t, netns.Do(w.node, func() error {
		sockets, err = xsk.OpenSet(w.uplink.Index(), w.uplink.Queues(), xsk.Config{})
		return err
	}))
	t.Cleanup(func() { require.NoError(t, sockets.Close()) })
	w.plane, err = embedded.New(embedded.Config{Uplink: w.uplink, Sockets: sockets.Sockets()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.plane.Close()) })
	require.NoError(t, sockets.Register(w.classifier.Sockets()))
	return w
}

func newNamespace(t *testing.T) string {
	t.Helper()
	path, closeNS, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeNS()) })
	// Child processes see our descriptors under our number.
	path = strings.Replace(path, "/proc/self/", fmt.Sprintf("/proc/%d/", os.Getpid()), 1)
	_, err = lab.Run(context.Background(), path, "ip", "link", "set", "lo", "up")
	require.NoError(t, err)
	return path
}

// run runs a command in a namespace.
func (w *world) run(t *testing.T, ns, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := lab.Run(ctx, ns, name, args...)
	require.NoError(t, err)
	return out
}

// join links the pod to a tunnel and gives its interface an address.
func (w *world) join(t *testing.T, payload plane.Payload, mtu int, tunnel plane.Port, hole classifier.Pinhole) {
	t.Helper()
	require.NoError(t, w.classifier.Open(hole))
	_, err := w.plane.Join(context.Background(), w.connection(t, payload, mtu, tunnel))
	require.NoError(t, err)
	require.NoError(t, podnet.Apply(w.pod, "nsm-1", podnet.Config{
		MTU: mtu, Addresses: []netip.Prefix{podAddr},
	}))
}

func (w *world) connection(t *testing.T, payload plane.Payload, mtu int, tunnel plane.Port) *plane.Connection {
	t.Helper()
	dev, ino, err := netns.Identity(w.pod)
	require.NoError(t, err)
	return &plane.Connection{
		ID: "c1", Payload: payload, MTU: mtu,
		Client:   plane.Kernel{NetNS: w.pod, Device: dev, Inode: ino, Name: "nsm-1"},
		Endpoint: tunnel,
	}
}

// requirePing pings from the pod to the peer and back, with nothing lost, also
// with packets of exactly the MTU.
func (w *world) requirePing(t *testing.T, mtu int) {
	t.Helper()
	for ns, to := range map[string]netip.Addr{w.pod: peerAddr.Addr(), w.peer: podAddr.Addr()} {
		// The first one may wait for ARP and a handshake.
		w.run(t, ns, "ping", "-n", "-q", "-c", "1", "-W", "5", to.String())
		for _, size := range []int{56, mtu - 28} {
			out := w.run(t, ns, "ping", "-n", "-q", "-l", "20", "-c", "20", "-i", "2", "-M", "do", "-s", fmt.Sprint(size), to.String())
			require.Contains(t, out, " 0% packet loss", "%d bytes to %s", size, to)
		}
	}
}

// requireTCP runs iperf3 both ways between the pod and the peer.
func (w *world) requireTCP(t *testing.T) {
	t.Helper()
	requireTool(t, "iperf3")
	server := exec.Command("iperf3", "-s", "-B", peerAddr.Addr().String(), "--forceflush")
	listening := newWatch("Server listening")
	server.Stdout = listening
	require.NoError(t, netns.Do(w.peer, server.Start))
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	listening.await(t)
	for _, way := range []string{"--get-server-output", "--reverse"} {
		out := w.run(t, w.pod, "iperf3", "-c", peerAddr.Addr().String(), "-t", "2", "-f", "g", way)
		for line := range strings.Lines(out) {
			if strings.Contains(line, "receiver") && !strings.Contains(line, "Server output") {
				t.Log(strings.TrimSpace(line))
			}
		}
		listening.await(t)
	}
}

func requireTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
}
