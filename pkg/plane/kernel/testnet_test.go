// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"crypto/ecdh"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/embedded"
	"github.com/nsm-afxdp/forwarder/pkg/uplink"
	"github.com/nsm-afxdp/forwarder/pkg/xsk"
)

// namespace is a network namespace of the test.
type namespace struct {
	path   string
	handle *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	path, closeNS, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeNS()) })
	n := &namespace{path: path}
	n.handle, err = netns.NetlinkHandle(path)
	require.NoError(t, err)
	t.Cleanup(n.handle.Close)
	n.run(t, "ip", "link", "set", "lo", "up")
	return n
}

// command is a program in the namespace.
func (n *namespace) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.path, name}, args...)...)
}

func (n *namespace) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	out, err := n.command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// addr gives an interface the pod's addresses.
func (n *namespace) addr(t testing.TB, name string, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		n.run(t, "ip", "addr", "add", prefix, "dev", name, "nodad")
		n.awaitLocal(netip.MustParsePrefix(prefix).Addr())
	}
}

// awaitLocal waits until packets to an IPv6 address are taken in, which is some
// time after it is there. It waits a second at most: the interface may be down.
func (n *namespace) awaitLocal(a netip.Addr) {
	for deadline := time.Now().Add(time.Second); a.Is6() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if routes, err := n.handle.RouteGet(a.AsSlice()); err == nil && routes[0].Type == unix.RTN_LOCAL {
			return
		}
	}
}

// links are the names of the interfaces, without lo.
func (n *namespace) links(t testing.TB) []string {
	t.Helper()
	all, err := n.handle.LinkList()
	require.NoError(t, err)
	names := []string{}
	for _, l := range all {
		if name := l.Attrs().Name; name != "lo" {
			names = append(names, name)
		}
	}
	return names
}

// index of an interface.
func (n *namespace) index(t testing.TB, name string) int {
	t.Helper()
	l, err := n.handle.LinkByName(name)
	require.NoError(t, err)
	return l.Attrs().Index
}

// port is a kernel port in this namespace.
func (n *namespace) port(t testing.TB, name string) plane.Kernel {
	t.Helper()
	dev, ino, err := netns.Identity(n.path)
	require.NoError(t, err)
	return plane.Kernel{NetNS: n.path, Device: dev, Inode: ino, Name: name, Alias: "test " + name}
}

// ping sends packets of some bytes inside IPv4 and wants all of them answered,
// but the first, which may wait for neighbours and a handshake.
func (n *namespace) ping(t testing.TB, to string, sizes ...int) {
	t.Helper()
	n.run(t, "ping", "-n", "-q", "-c", "1", "-W", "5", to)
	for _, size := range append(sizes, 56) {
		// All at once: for what comes late, ping waits no longer than an
		// interval.
		out := n.run(t, "ping", "-n", "-q", "-c", "10", "-l", "10", "-i", "2", "-M", "do", "-s", fmt.Sprint(size), to)
		require.Contains(t, out, " 0% packet loss", "%d bytes to %s", size, to)
	}
}

// Addresses of the two nodes, by family.
var (
	addrs4 = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	addrs6 = [2]netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
)

// underlay is two nodes joined by a veth pair, eth0 in both.
type underlay struct{ nodes [2]*namespace }

func newUnderlay(t testing.TB) *underlay { return newUnderlayOf(t, 1500) }

func newUnderlayOf(t testing.TB, mtu int) *underlay {
	t.Helper()
	u := &underlay{nodes: [2]*namespace{newNamespace(t), newNamespace(t)}}
	u.nodes[0].run(t, "ip", "link", "add", "eth0", "mtu", fmt.Sprint(mtu), "type", "veth",
		"peer", "name", "eth0", "mtu", fmt.Sprint(mtu), "netns", u.nodes[1].path)
	for i, n := range u.nodes {
		n.addr(t, "eth0", addrs4[i].String()+"/24", addrs6[i].String()+"/64")
	}
	for _, n := range u.nodes {
		n.run(t, "ip", "link", "set", "eth0", "up")
	}
	for _, n := range u.nodes {
		require.Eventually(t, func() bool {
			l, err := n.handle.LinkByName("eth0")
			return err == nil && l.Attrs().OperState == netlink.OperUp
		}, 10*time.Second, time.Millisecond)
	}
	return u
}

func (u *underlay) uplink(t testing.TB, i int, addr netip.Addr) *uplink.Uplink {
	t.Helper()
	up, err := uplink.Open(uplink.Config{Tunnel: addr, NetNS: u.nodes[i].path})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, up.Close()) })
	return up
}

// start starts a kernel plane on node i.
func (u *underlay) start(t testing.TB, i int, addrs [2]netip.Addr, change ...func(*Config)) *Plane {
	t.Helper()
	cfg := Config{Uplink: u.uplink(t, i, addrs[i]), NetNS: u.nodes[i].path}
	for _, f := range change {
		f(&cfg)
	}
	p, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// startEmbedded starts an embedded plane on node i, with pinholes for both
// tunnels.
func (u *underlay) startEmbedded(t testing.TB, i int, addrs [2]netip.Addr) plane.Plane {
	t.Helper()
	// A veth hands over what Linux sends with checksums that a NIC would have
	// finished; the wire that it stands for would not.
	u.nodes[1-i].run(t, "ethtool", "-K", "eth0", "tx", "off")
	up := u.uplink(t, i, addrs[i])
	var c *classifier.Classifier
	var sockets *xsk.Set
	require.NoError(t, netns.Do(u.nodes[i].path, func() (err error) {
		c, err = classifier.Attach(classifier.Config{Interface: "eth0"})
		if err != nil {
			return err
		}
		sockets, err = xsk.OpenSet(up.Index(), up.Queues(), xsk.Config{})
		return err
	}))
	t.Cleanup(func() { require.NoError(t, c.Detach()) })
	t.Cleanup(func() { require.NoError(t, sockets.Close()) })
	p, err := embedded.New(embedded.Config{Uplink: up, Sockets: sockets.Sockets()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.NoError(t, sockets.Register(c.Sockets()))
	for _, hole := range []classifier.Pinhole{
		{Addr: addrs[i], Port: 4789, VNI: vni}, {Addr: addrs[i], Port: 51820, VNI: -1},
	} {
		require.NoError(t, c.Open(hole))
	}
	return p
}

const vni = 42

// tunnel is node i's end of a VXLAN tunnel.
func tunnel(i int, vni uint32, addrs [2]netip.Addr) plane.VXLAN {
	return plane.VXLAN{Local: addrs[i], Remote: addrs[1-i], LocalPort: 4789, RemotePort: 4789, VNI: vni}
}

// keys of the n-th tunnel's two ends, private and public.
func keys(n byte) (k [2]struct{ private, public plane.Key }) {
	for i := range k {
		seed := [32]byte{'n', 's', 'm', n, byte(i)}
		private, err := ecdh.X25519().NewPrivateKey(seed[:])
		if err != nil {
			panic(err)
		}
		k[i].private, k[i].public = plane.Key(seed), plane.Key(private.PublicKey().Bytes())
	}
	return k
}

// userspace has a plane do without Linux's WireGuard.
func userspace(c *Config) { c.userspace = true }

// needWireGuard skips the test on kernels without WireGuard.
func (p *Plane) needWireGuard(t testing.TB) {
	t.Helper()
	if !p.wgDevices {
		t.Skip(probeType("wireguard")(p.node))
	}
}

// wireguardPath is what links over WireGuard say.
func (p *Plane) wireguardPath() string {
	if p.wgDevices {
		return "kernel WireGuard"
	}
	return "wireguard-go"
}

// guarded is node i's end of the n-th WireGuard tunnel.
func guarded(i int, n byte, addrs [2]netip.Addr, initiator bool) plane.WireGuard {
	k := keys(n)
	return plane.WireGuard{
		Local: netip.AddrPortFrom(addrs[i], 51820), Remote: netip.AddrPortFrom(addrs[1-i], 51820),
		PrivateKey: k[i].private, PeerKey: k[1-i].public, Initiator: initiator,
	}
}

func descriptors(t testing.TB) map[string]string {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	open := make(map[string]string)
	for _, f := range all {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && !strings.Contains(to, "/proc/") {
			open[f.Name()] = to
		}
	}
	return open
}
