// SPDX-License-Identifier: Apache-2.0

// Package vxlan negotiates the VXLAN mechanism, the tunnel of Ethernet payload
// (RFC 7348).
//
// The client half offers its tunnel address and port; the server half of the
// other forwarder adds its own and chooses the VNI.
package vxlan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	vxlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// DefaultPort is VXLAN's UDP port (RFC 7348, section 5).
const DefaultPort = 4789

// end is one side's address and port as the mechanism's parameters give them.
type end struct {
	ip   net.IP
	port uint16
}

// newPort describes a tunnel from its two ends as seen from this node.
func newPort(local, remote end, vni uint32) (plane.VXLAN, error) {
	l, ok1 := netip.AddrFromSlice(local.ip)
	r, ok2 := netip.AddrFromSlice(remote.ip)
	l, r = l.Unmap(), r.Unmap()
	switch {
	case !ok1:
		return plane.VXLAN{}, errors.New("vxlan mechanism: no tunnel address of this node given")
	case !ok2 || r.IsUnspecified() || r.IsMulticast():
		return plane.VXLAN{}, fmt.Errorf("vxlan mechanism: %q is no tunnel address of a peer", remote.ip)
	case l.Is4() != r.Is4():
		return plane.VXLAN{}, fmt.Errorf("vxlan mechanism: tunnel addresses %s and %s are of different families", l, r)
	case vni >= 1<<24:
		return plane.VXLAN{}, fmt.Errorf("vxlan mechanism: VNI %d does not fit 24 bits", vni)
	}
	return plane.VXLAN{
		Local: l, Remote: r,
		LocalPort: local.portOrDefault(), RemotePort: remote.portOrDefault(), VNI: vni,
	}, nil
}

func (e end) portOrDefault() uint16 {
	if e.port == 0 {
		return DefaultPort
	}
	return e.port
}

// source and destination read the two ends from the mechanism's parameters.
func source(m *vxlanmech.Mechanism) end      { return end{m.SrcIP(), m.SrcPort()} }
func destination(m *vxlanmech.Mechanism) end { return end{m.DstIP(), m.DstPort()} }
