// SPDX-License-Identifier: Apache-2.0

// Package vlan negotiates the VLAN mechanism: a network outside of the mesh,
// told apart by an 802.1Q tag on the frames of a device of the node.
//
// Its endpoint moves no packets. It says which VLAN a connection belongs to, and
// in the connection's label "via" behind which device that is. So there is a
// client half only.
package vlan

import (
	"fmt"
	"net"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	vlanmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vlan"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// viaLabel is the label of the connection that the endpoint sets.
const viaLabel = "via"

// Devices maps values of the label via to names of devices. The empty name
// stands for the uplink of the plane. Without any, that is where all networks
// are.
type Devices map[string]string

// newPort describes the network that the endpoint has named.
func (d Devices) newPort(conn *networkservice.Connection) (plane.VLAN, error) {
	mechanism := vlanmech.ToMechanism(conn.GetMechanism())
	// The wrapper returns 0 for what is no number of 12 bits.
	id := mechanism.GetVlanID()
	if id < 1 || id > 4094 {
		return plane.VLAN{}, fmt.Errorf("vlan mechanism: id %q of network service %s is not between 1 and 4094",
			mechanism.GetParameters()[vlanmech.ID], conn.GetNetworkService())
	}
	device, via := "", conn.GetLabels()[viaLabel]
	if len(d) > 0 {
		var ok bool
		if device, ok = d[via]; !ok {
			return plane.VLAN{}, fmt.Errorf("vlan mechanism: no device of this node leads to VLAN %d via %q: "+
				"name one in NSM_DEVICE_SELECTOR_FILE", id, via)
		}
	}
	return plane.VLAN{Uplink: device, ID: uint16(id)}, nil
}

// deviceMTU is the MTU of a device, which its tagged frames have, too: a tag is
// not part of it (IEEE 802.3, 3.2.7).
func deviceMTU(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return 0, fmt.Errorf("vlan mechanism: device %s: %w", name, err)
	}
	return device.MTU, nil
}
