// SPDX-License-Identifier: Apache-2.0

package plane_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

func TestPortsAreShownWithoutSecrets(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.2")
	for want, port := range map[string]plane.Port{
		"kernel nsm-1 (netns 4026531840)":        plane.Kernel{Name: "nsm-1", Inode: 4026531840},
		"memif nsm-1 (master, netns 4026531840)": plane.Memif{Name: "nsm-1", Socket: "@/tmp/memif/c/m", Inode: 4026531840, Master: true},
		"memif slave @/tmp/memif/e/m":            plane.Memif{Socket: "@/tmp/memif/e/m"},
		"vxlan 7 to 192.0.2.2":                   plane.VXLAN{VNI: 7, Remote: peer},
		"wireguard to 192.0.2.2:51820":           plane.WireGuard{Remote: netip.AddrPortFrom(peer, 51820), PrivateKey: plane.Key{1}},
		"vlan 100":                               plane.VLAN{ID: 100},
		"vlan 100 of eth1":                       plane.VLAN{ID: 100, Uplink: "eth1"},
	} {
		require.Equal(t, want, port.String())
	}
}
