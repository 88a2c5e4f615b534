// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/lab/dot1q"
	"github.com/nsm-afxdp/forwarder/pkg/classifier"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// vlanDevice makes Linux's own VLAN interface on the uplink, or skips the test
// where Linux has none; test/vm runs it where it has.
func (n *namespace) vlanDevice(t testing.TB, name string, id int, prefixes ...string) {
	t.Helper()
	n.do(t, func() error { return dot1q.Finish("uplink") })
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, n.link(t, "uplink").Attrs().Index
	err := n.handle.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("this kernel has no VLAN interfaces (module 8021q)")
	}
	if err != nil {
		t.Fatal(err)
	}
	n.up(t, name)
	n.addr(t, name, prefixes...)
}

// The host on the VLAN has an ordinary VLAN interface of Linux.
func TestVLANDeviceOfLinux(t *testing.T) {
	v := newVLANNet(t, 1500, 0, nil)
	v.hold(t, 100)
	v.host.vlanDevice(t, "uplink.100", 100, "10.7.0.9/24", "fd07::9/64")
	pod := newNamespace(t)
	v.join(t, pod, 100, 1)
	for _, to := range []string{"10.7.0.9", "fd07::9"} {
		pod.ping(t, to)
	}
	v.host.ping(t, "fd07::1")
	if err := roundTrip(pod.dialUDP(t, v.host.echo(t, "10.7.0.9"), true), make([]byte, 1472)); err != nil {
		t.Errorf("a packet of the MTU: %v", err)
	}
	stream(t, pod, v.host, "10.7.0.9", 8<<20)
	stream(t, v.host, pod, "fd07::1", 8<<20)
}

// The uplink is a VLAN interface itself. Tunnels go by its tag; other VLANs of the
// device have theirs, and not inside of that one. What is the node's own is not
// taken from it.
func TestVLANBesideTaggedUplink(t *testing.T) {
	v := &vlanNet{underlay: newUnderlay(t, 1500)}
	v.host = v.nodes[1]
	tagged := [2]netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")}
	for i, n := range v.nodes {
		n.vlanDevice(t, "uplink.7", 7, tagged[i].String()+"/24")
	}
	v.nodes[0].vlanDevice(t, "mgmt", 8)
	v.host.vlanDevice(t, "uplink.100", 100, "10.7.0.9/24")
	v.kernelVXLAN(t, 1, 42, tagged, "10.8.0.9/24")
	v.begin(t, tagged[0], nil)
	v.hold(t, 100)
	if err := v.classifier.Open(classifier.Pinhole{Addr: tagged[0], Port: 4789, VNI: classifier.AnyVNI}); err != nil {
		t.Fatal(err)
	}
	pod := newNamespace(t)
	v.join(t, pod, 100, 1)
	if _, err := v.Join(t.Context(), &plane.Connection{
		ID: "vxlan", Payload: plane.Ethernet, Client: pod.port(t, "nsm-2"), Endpoint: tunnel(0, 42, tagged),
	}); err != nil {
		t.Fatal(err)
	}
	pod.addr(t, "nsm-2", "10.8.0.1/24")
	pod.ping(t, "10.7.0.9")
	pod.ping(t, "10.8.0.9")

	for id, name := range map[uint16]string{7: "uplink.7", 8: "mgmt"} {
		_, err := v.Join(t.Context(), &plane.Connection{
			ID: "own", Payload: plane.Ethernet, Client: pod.port(t, "nsm-3"), Endpoint: plane.VLAN{ID: id},
		})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("VLAN %d: error %v", id, err)
		}
	}
}
