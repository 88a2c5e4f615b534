// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

func TestReceivingVLANsIsPutBack(t *testing.T) {
	ns, state := host(t)
	before := facts(t, ns)
	s := settings(t, ns, state)
	stripping := func() (on, fixed bool) {
		require.NoError(t, netns.Do(ns, func() (err error) {
			on, fixed, err = TagStripping("eth0")
			return err
		}))
		return on, fixed
	}
	on, fixed := stripping()
	require.True(t, on)
	require.False(t, fixed)
	for range 2 {
		require.NoError(t, s.ReceiveVLANs("eth0"))
		on, _ = stripping()
		require.False(t, on)
		after := facts(t, ns)
		require.Contains(t, after, "promiscuity 1")
		require.Contains(t, after, "rx-vlan-offload: off")
	}
	require.NoError(t, s.Restore())
	require.Equal(t, before, facts(t, ns))
}

// This needs no VLAN support in the kernel: only the search is looked at.
func TestVLANInterfaceOfTheNode(t *testing.T) {
	vlan := func(name string, parent, elsewhere, id int, protocol netlink.VlanProtocol) netlink.Link {
		return &netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent, NetNsID: elsewhere},
			VlanId:    id, VlanProtocol: protocol,
		}
	}
	links := []netlink.Link{
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: 2, NetNsID: -1}},
		vlan("other device", 3, -1, 100, netlink.VLAN_PROTOCOL_8021Q),
		vlan("device elsewhere", 2, 0, 100, netlink.VLAN_PROTOCOL_8021Q),
		vlan("service tag", 2, -1, 100, netlink.VLAN_PROTOCOL_8021AD),
		vlan("eth0.101", 2, -1, 101, netlink.VLAN_PROTOCOL_8021Q),
	}
	require.Empty(t, vlanOf(links, 2, 100))
	require.Equal(t, "eth0.101", vlanOf(links, 2, 101))
	links = append(links, vlan("eth0.100", 2, -1, 100, netlink.VLAN_PROTOCOL_8021Q))
	require.Equal(t, "eth0.100", vlanOf(links, 2, 100))
}
