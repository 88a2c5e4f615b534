// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// VLANInterface is the name of the node's own interface that is the VLAN with this
// id on the device, empty if there is none. One that was moved to another network
// namespace is not found.
func (u *Uplink) VLANInterface(id uint16) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return "", ErrClosed
	}
	links, err := complete(u.requests.LinkList)
	if err != nil {
		return "", fmt.Errorf("list VLAN interfaces of %s: %w", u.Name(), err)
	}
	for _, l := range links {
		v, ok := l.(*netlink.Vlan)
		if ok && v.ParentIndex == u.Index() && v.NetNsID < 0 && v.VlanId == int(id) && v.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q {
			return v.Name, nil
		}
	}
	return "", nil
}
