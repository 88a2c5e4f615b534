// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

func TestWhichUplinkIsChosen(t *testing.T) {
	for name, c := range map[string]struct {
		setup, tunnel string
		link, addr    string
	}{
		"the default route's, by its first global address": {
			"ip addr add 169.254.7.7/16 dev eth0; ip addr add 10.0.0.1/24 dev eth0; ip addr add 10.0.0.9/24 dev eth0; ip route add default via 10.0.0.2", "",
			"eth0", "10.0.0.1"},
		"the one of the lower metric": {
			"ip addr add 10.0.0.1/24 dev eth0; ip addr add 10.1.0.1/24 dev eth9; ip route add default via 10.0.0.2 metric 200; ip route add default via 10.1.0.2 metric 100", "",
			"eth9", "10.1.0.1"},
		"IPv4 before IPv6": {
			"ip addr add 10.0.0.1/24 dev eth0; ip addr add 2001:db8:9::1/64 dev eth9 nodad; ip -6 route add default via 2001:db8:9::2; ip route add default via 10.0.0.2", "",
			"eth0", "10.0.0.1"},
		"IPv6 where there is no IPv4 default route": {
			"ip addr add 10.0.0.1/24 dev eth0; ip addr add 2001:db8:9::1/64 dev eth9 nodad; ip -6 route add default via 2001:db8:9::2", "",
			"eth9", "2001:db8:9::1"},
		"the first of several equal ways": {
			"ip addr add 10.0.0.1/24 dev eth0; ip addr add 10.1.0.1/24 dev eth9; ip route add default nexthop via 10.1.0.2 nexthop via 10.0.0.2", "",
			"eth9", "10.1.0.1"},
		"the one with the tunnel address, whatever the default route": {
			"ip addr add 10.0.0.1/24 dev eth0; ip addr add 10.1.0.1/24 dev eth9; ip addr add 10.1.0.7/32 dev eth9; ip route add default via 10.0.0.2", "10.1.0.7",
			"eth9", "10.1.0.7"},
		"the one with the IPv6 tunnel address": {
			"ip addr add 2001:db8:9::1/64 dev eth9 nodad", "2001:db8:9::1",
			"eth9", "2001:db8:9::1"},
	} {
		t.Run(name, func(t *testing.T) {
			us, peer := node(t), node(t)
			cable(t, us, "eth0", peer, "eth1")
			cable(t, us, "eth9", peer, "eth2")
			sh(t, us, c.setup)
			config := Config{NetNS: us}
			if c.tunnel != "" {
				config.Tunnel = netip.MustParseAddr(c.tunnel)
			}
			u := open(t, config)
			require.Equal(t, c.link, u.Name())
			require.Equal(t, c.addr, u.Addr().String())
			require.Equal(t, 1500, u.MTU())
			require.Equal(t, macOf(t, us, c.link), [6]byte(u.HardwareAddr()))
			require.Empty(t, u.VLAN())
			require.Positive(t, u.Index())
			require.True(t, u.Up())

			located, err := Locate(config)
			require.NoError(t, err)
			require.Equal(t, Location{
				Link: c.link, Device: c.link, Kind: "veth", Addr: u.Addr(), Index: u.Index(), MTU: 1500, Queues: u.Queues(),
			}, located)
		})
	}
}

func TestNoUplink(t *testing.T) {
	for name, c := range map[string]struct{ setup, tunnel, says string }{
		"no default route":             {"ip addr add 10.0.0.1/24 dev eth0", "", "no default route"},
		"a default route that is none": {"ip route add unreachable default", "", "no default route"},
		"a default link without address": {
			"ip route add default dev eth0", "", "over eth0, which has no global unicast address"},
		"an address that no interface has": {
			"ip addr add 10.0.0.1/24 dev eth0", "10.0.0.9", "no interface has the tunnel address 10.0.0.9: set NSM_TUNNEL_IP to an address of this node (10.0.0.1)"},
		"the loopback address":            {"", "127.0.0.1", "loopback interface"},
		"an address on the loopback link": {"ip addr add 10.5.5.5/32 dev lo", "10.5.5.5", "loopback interface"},
		"a link that is down":             {"ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 down", "10.0.0.1", "ip link set eth0 up"},
		"a link without carrier":          {"ip link add a0 type veth peer name a1; ip link set a0 up; ip addr add 10.3.0.1/24 dev a0", "10.3.0.1", "no carrier"},
		"a link without Ethernet":         {"ip tuntap add tun0 mode tun; ip link set tun0 up; ip addr add 10.3.0.1/24 dev tun0", "10.3.0.1", "no Ethernet framing"},
		"a multicast address":             {"", "224.0.0.1", "global unicast"},
		"the unspecified address":         {"", "0.0.0.0", "global unicast"},
		"a link-local address":            {"", "fe80::1", "global unicast"},
		"a mapped address":                {"", "::ffff:10.0.0.1", "global unicast"},
	} {
		t.Run(name, func(t *testing.T) {
			us := node(t)
			cable(t, us, "eth0", node(t), "eth1")
			sh(t, us, c.setup)
			if c.says == "no carrier" {
				awaitCarrier(t, us, "a0", false)
			}
			config := Config{NetNS: us}
			if c.tunnel != "" {
				config.Tunnel = netip.MustParseAddr(c.tunnel)
			}
			_, err := Open(config)
			require.ErrorContains(t, err, "find uplink: ")
			require.ErrorContains(t, err, c.says)
			_, located := Locate(config)
			require.EqualError(t, located, err.Error())
		})
	}
	_, err := Open(Config{NetNS: "/proc/4194305/ns/net"})
	require.ErrorContains(t, err, "/proc/4194305/ns/net")
}

// This needs no VLAN support in the kernel: only the walk is looked at.
func TestDeviceBelowVLANInterfaces(t *testing.T) {
	links := map[int]netlink.Link{}
	add := func(l netlink.Link) netlink.Link { links[l.Attrs().Index] = l; return l }
	attrs := func(index, parent int, name string) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: index, ParentIndex: parent, Name: name, NetNsID: -1}
	}
	byIndex := func(i int) (netlink.Link, error) {
		if l := links[i]; l != nil {
			return l, nil
		}
		return nil, errors.New("not there")
	}
	nic := add(&netlink.Device{LinkAttrs: attrs(2, 0, "eth0")})
	inner := add(&netlink.Vlan{LinkAttrs: attrs(3, 2, "eth0.100"), VlanId: 100})
	nested := add(&netlink.Vlan{LinkAttrs: attrs(4, 3, "eth0.100.7"), VlanId: 7})
	third := add(&netlink.Vlan{LinkAttrs: attrs(5, 4, "eth0.100.7.8"), VlanId: 8})
	orphan := add(&netlink.Vlan{LinkAttrs: attrs(6, 99, "orphan"), VlanId: 1})
	foreign := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "foreign", NetNsID: 3, ParentIndex: 2}, VlanId: 1}

	for _, c := range []struct {
		link netlink.Link
		tags []uint16
		says string
	}{
		{nic, nil, ""},
		{inner, []uint16{100}, ""},
		{nested, []uint16{100, 7}, ""},
		{third, nil, "more than 2 tags"},
		{orphan, nil, "below VLAN interface orphan"},
		{foreign, nil, "another network namespace"},
	} {
		device, tags, err := deviceOf(c.link, byIndex)
		if c.says != "" {
			require.ErrorContains(t, err, c.says)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, nic, device)
		require.Equal(t, c.tags, tags)
	}
}

func TestQueuesAreThoseThatReceive(t *testing.T) {
	us, peer := node(t), node(t)
	sh(t, us, "ip link add eth0 numrxqueues 3 numtxqueues 5 type veth peer name p0; ip link set eth0 up; ip link set p0 up; ip addr add 10.0.0.1/24 dev eth0")
	require.Equal(t, 3, open(t, Config{NetNS: us, Tunnel: netip.MustParseAddr("10.0.0.1")}).Queues())

	// A TAP device has no channels to tell of.
	sh(t, peer, "ip tuntap add tap0 mode tap; ip link set tap0 up; ip addr add 10.0.0.1/24 dev tap0")
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0", NumRxQueues: 4}}
	require.Equal(t, 4, countQueues(link))
	require.Equal(t, 1, countQueues(&netlink.Tuntap{}))
}
