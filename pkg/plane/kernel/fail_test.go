// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// pristine fails the test unless a plane holds nothing, and neither node nor
// pods have interfaces of it.
func pristine(t *testing.T, p *Plane, fds int, node *namespace, pods ...*namespace) {
	t.Helper()
	if open := descriptors(t); len(open) > fds {
		t.Errorf("%d descriptors are open, were %d: %v", len(open), fds, open)
	}
	require.Empty(t, p.Links())
	require.Empty(t, p.claims)
	require.Empty(t, p.wgPorts)
	require.Empty(t, p.hubs.all)
	require.Equal(t, []string{"eth0"}, node.links(t))
	require.NotContains(t, node.run(t, "ss", "-Huln"), ":51820")
	for _, pod := range pods {
		require.Empty(t, pod.links(t))
	}
}

// Each step of Join fails once, and nothing is left behind.
func TestFailedStepsLeaveNothing(t *testing.T) {
	u := newUnderlay(t)
	var steps []string
	failing := -1
	fail := func(c *Config) {
		c.fail = func(step string) error {
			steps = append(steps, step)
			if len(steps)-1 == failing {
				return errors.New("made to fail")
			}
			return nil
		}
	}
	// Where Linux has no WireGuard, it is the same for both.
	p, without := u.start(t, 0, addrs4, fail), u.start(t, 0, addrs4, fail, userspace)
	pods := [2]*namespace{newNamespace(t), newNamespace(t)}
	fds := len(descriptors(t))
	for id, endpoint := range map[string]struct {
		plane   *Plane
		payload plane.Payload
		port    plane.Port
		steps   int
	}{
		"vxlan":        {p, plane.Ethernet, tunnel(0, vni, addrs4), 6},
		"veth":         {p, plane.Ethernet, pods[1].port(t, "nse-1"), 4},
		"wireguard":    {p, plane.IP, guarded(0, 1, addrs4, false), 7},
		"wireguard-go": {without, plane.IP, guarded(0, 1, addrs4, false), 7},
	} {
		p := endpoint.plane
		c := &plane.Connection{ID: id, Payload: endpoint.payload, Client: pods[0].port(t, "nsm-1"), Endpoint: endpoint.port}
		failing, steps = -1, nil
		_, err := p.Join(t.Context(), c)
		require.NoError(t, err)
		require.NoError(t, p.Leave(t.Context(), id))
		pristine(t, p, fds, u.nodes[0], pods[:]...)
		all := steps
		require.Len(t, all, endpoint.steps, "%s: %v", id, all)
		for i, step := range all {
			failing, steps = i, nil
			_, err := p.Join(t.Context(), c)
			require.ErrorContains(t, err, "made to fail", "%s: step %d, %s", id, i, step)
			pristine(t, p, fds, u.nodes[0], pods[:]...)
		}
	}
}

func TestBadConnections(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod, gone, taken := newNamespace(t), newNamespace(t), newNamespace(t)
	taken.run(t, "ip", "link", "add", "nsm-1", "type", "veth", "peer", "name", "other")
	moved, missing := pod.port(t, "nsm-1"), pod.port(t, "nsm-1")
	moved.Inode = gone.port(t, "nsm-1").Inode
	missing.NetNS = "/proc/self/fd/9999"
	good, pair := tunnel(0, vni, addrs4), tunnel(0, vni, addrs4)
	pair.RemotePort = 4790
	fds := len(descriptors(t))
	for _, c := range []struct {
		name     string
		conn     plane.Connection
		contains string
		is       error
	}{
		{"name is taken", plane.Connection{Payload: plane.Ethernet, Client: taken.port(t, "nsm-1"), Endpoint: good}, "there already", podif.ErrNameTaken},
		{"name is taken at a veth's end", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: taken.port(t, "nsm-1")}, "there already", podif.ErrNameTaken},
		{"name is taken for a TUN", plane.Connection{Payload: plane.IP, Client: taken.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false)}, "there already", podif.ErrNameTaken},
		{"name is too long", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1234567890ab"), Endpoint: good}, "at most 15", nil},
		{"name has a slash", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm/1"), Endpoint: guarded(0, 1, addrs4, false)}, "not possible", nil},
		{"another pod has the path", plane.Connection{Payload: plane.Ethernet, Client: moved, Endpoint: good}, "the pod is gone", nil},
		{"path leads nowhere", plane.Connection{Payload: plane.Ethernet, Client: missing, Endpoint: good}, "cannot be reached", os.ErrNotExist},
		{"both ends are one interface", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: pod.port(t, "nsm-1")}, "interface nsm-1", nil},
		{"MTU does not fit", plane.Connection{Payload: plane.Ethernet, MTU: 1451, Client: pod.port(t, "nsm-1"), Endpoint: good}, "leaves 1450", nil},
		{"MTU is tiny", plane.Connection{Payload: plane.Ethernet, MTU: 500, Client: pod.port(t, "nsm-1"), Endpoint: good}, "less than 576", nil},
		{"VXLAN carries no IP payload", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: good}, "VXLAN carries Ethernet", plane.ErrUnsupported},
		{"WireGuard carries no Ethernet", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false)}, "WireGuard carries IP", plane.ErrUnsupported},
		{"VXLAN ports differ", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: pair}, "NSM_VXLAN_PORT", plane.ErrUnsupported},
		{"VXLAN's address is another node's", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VXLAN{Local: addrs6[0], Remote: addrs4[1], LocalPort: 4789, RemotePort: 4789}}, "family", nil},
		{"WireGuard's address is another node's", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guarded(1, 1, addrs4, false)}, "no address of this node", nil},
		{"WireGuard's peer does not answer", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, true)}, "handshake", nil},
		{"VLAN carries no IP payload", plane.Connection{Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5}}, "Ethernet frames", plane.ErrUnsupported},
		{"VLAN id of 13 bits", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 4095}}, "between 1 and 4094", nil},
		{"VLAN's uplink is none", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: plane.VLAN{ID: 5, Uplink: "eth9"}}, "eth9", nil},
		{"memif", plane.Connection{Payload: plane.Ethernet, Client: plane.Memif{Socket: "x"}, Endpoint: good}, "NSM_FORWARDING_PLANE=embedded", plane.ErrUnsupported},
		{"no port", plane.Connection{Payload: plane.Ethernet, Client: pod.port(t, "nsm-1")}, "port is missing", nil},
		{"two tunnels", plane.Connection{Payload: plane.Ethernet, Client: good, Endpoint: good}, "joins a tunnel to a kernel interface", plane.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.conn.ID = "c1"
			joinCtx := t.Context()
			if w, ok := c.conn.Endpoint.(plane.WireGuard); ok && w.Initiator {
				var cancel context.CancelFunc
				joinCtx, cancel = context.WithTimeout(joinCtx, 300*time.Millisecond)
				defer cancel()
			}
			_, err := p.Join(joinCtx, &c.conn)
			require.ErrorContains(t, err, c.contains)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			pristine(t, p, fds, u.nodes[0], pod)
		})
	}
	t.Run("uplink is down", func(t *testing.T) {
		u.nodes[0].run(t, "ip", "link", "set", "eth0", "down")
		require.Eventually(t, func() bool { return !p.uplink.Up() }, 5*time.Second, time.Millisecond)
		for _, c := range []plane.Connection{
			{ID: "c1", Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: good},
			{ID: "c1", Payload: plane.IP, Client: pod.port(t, "nsm-1"), Endpoint: guarded(0, 1, addrs4, false)},
		} {
			_, err := p.Join(t.Context(), &c)
			require.ErrorContains(t, err, "uplink eth0 is down")
		}
		pristine(t, p, fds, u.nodes[0], pod)
	})
}

// Two peers may have chosen the same VNI for us. Linux cannot tell them apart.
func TestSameVNI(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod := newNamespace(t)
	join := func(id string, port plane.Port) error {
		_, err := p.Join(t.Context(), &plane.Connection{ID: id, Payload: plane.Ethernet, Client: pod.port(t, "nsm-"+id), Endpoint: port})
		return err
	}
	other := tunnel(0, vni, addrs4)
	other.Remote = addrs4[1].Next()
	require.NoError(t, join("1", tunnel(0, vni, addrs4)))
	t.Run("of another connection", func(t *testing.T) {
		err := join("2", other)
		require.ErrorIs(t, err, plane.ErrUnsupported)
		require.ErrorContains(t, err, `connection "1" has VNI 42 on IPv4 UDP port 4789`)
		require.Equal(t, []string{"nsm-1"}, pod.links(t))
	})
	t.Run("over the other family", func(t *testing.T) {
		require.NoError(t, join("3", tunnel(0, vni, addrs6)))
		require.NoError(t, p.Leave(t.Context(), "3"))
	})
	t.Run("of a device that is not ours", func(t *testing.T) {
		u.nodes[0].run(t, "ip", "link", "add", "vx0", "type", "vxlan", "id", "43", "remote", addrs4[1].String(), "dstport", "4789")
		err := join("2", tunnel(0, 43, addrs4))
		require.ErrorIs(t, err, plane.ErrUnsupported)
		require.ErrorContains(t, err, "not ours")
	})
	t.Run("on a port that is taken", func(t *testing.T) {
		taken := tunnel(0, 44, addrs4)
		taken.LocalPort, taken.RemotePort = 4799, 4799
		u.nodes[0].run(t, "ip", "link", "add", "vx1", "type", "vxlan", "external", "dstport", "4799")
		u.nodes[0].run(t, "ip", "link", "set", "vx1", "up")
		require.ErrorContains(t, join("2", taken), "UDP port 4799 of the node is taken")
		require.Equal(t, []string{"nsm-1"}, pod.links(t))
	})
	require.NoError(t, p.Leave(t.Context(), "1"))
	require.NoError(t, join("2", other))
}

// An interface is one connection's.
func TestSameInterface(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod := newNamespace(t)
	for i, contains := range []string{"", `connection "0" has interface nsm-1`} {
		_, err := p.Join(t.Context(), &plane.Connection{
			ID: fmt.Sprint(i), Payload: plane.Ethernet, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, uint32(i), addrs4),
		})
		if contains == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, podif.ErrNameTaken)
		require.ErrorContains(t, err, contains)
	}
	require.Equal(t, []string{"nsm-1"}, pod.links(t))
}

func TestWithoutPrivilege(t *testing.T) {
	d := device{pattern: vlanPattern(plane.VLAN{ID: 5}, 1)}
	require.ErrorContains(t, d.reason(unix.EPERM), "CAP_NET_ADMIN")
}

func TestKinds(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	require.Subset(t, []plane.Kind{plane.KindKernel, plane.KindVXLAN, plane.KindVLAN}, p.Kinds(plane.Ethernet))
	require.Equal(t, []plane.Kind{plane.KindKernel, plane.KindVXLAN}, p.Kinds(plane.Ethernet)[:2])
	require.Equal(t, []plane.Kind{plane.KindKernel, plane.KindWireGuard}, p.Kinds(plane.IP))
	require.Equal(t, []string{"eth0"}, u.nodes[0].links(t), "probes left something")
}

// What the device of a tunnel looks like to an operator.
func TestVXLANDevice(t *testing.T) {
	u := newUnderlay(t)
	p := u.start(t, 0, addrs4)
	pod := newNamespace(t)
	_, err := p.Join(t.Context(), &plane.Connection{
		ID: "c1", Payload: plane.Ethernet, MTU: 1400, Client: pod.port(t, "nsm-1"), Endpoint: tunnel(0, vni, addrs4),
	})
	require.NoError(t, err)
	shown := pod.run(t, "ip", "-d", "-o", "link", "show", "nsm-1")
	for _, want := range []string{
		"mtu 1400", ",UP,", "alias test nsm-1", "vxlan id 42", "remote 192.0.2.2", "local 192.0.2.1", "dstport 4789", "ttl 64", "nolearning", "df set",
	} {
		require.Contains(t, shown, want)
	}
}

func TestPatternsFit(t *testing.T) {
	v := tunnel(0, vni, addrs4)
	made := vxlanPattern(v, 7).make(netlink.NewLinkAttrs())
	require.True(t, vxlanPattern(v, 7).fits(made))
	require.False(t, vxlanPattern(v, 8).fits(made), "uplink")
	require.False(t, vxlanPattern(tunnel(0, vni+1, addrs4), 7).fits(made), "VNI")
	require.False(t, vxlanPattern(tunnel(1, vni, addrs4), 7).fits(made), "addresses")
	require.False(t, vlanPattern(plane.VLAN{ID: vni}, 7).fits(made), "type")

	tagged := vlanPattern(plane.VLAN{ID: 5}, 7).make(netlink.NewLinkAttrs())
	require.True(t, vlanPattern(plane.VLAN{ID: 5}, 7).fits(tagged))
	require.False(t, vlanPattern(plane.VLAN{ID: 6}, 7).fits(tagged), "id")
	require.False(t, vlanPattern(plane.VLAN{ID: 5}, 8).fits(tagged), "uplink")
	require.False(t, vxlanPattern(v, 7).fits(tagged), "type")
}
