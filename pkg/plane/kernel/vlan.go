// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

func (j *joint) openVLAN(l *link, v plane.VLAN) (way, error) {
	if j.conn.Payload != plane.Ethernet {
		return nil, fmt.Errorf("%s carries Ethernet frames, not payload %q: %w", v, j.conn.Payload, plane.ErrUnsupported)
	}
	if v.ID < 1 || v.ID > 4094 {
		return nil, fmt.Errorf("%s: the id is not between 1 and 4094", v)
	}
	if v.Uplink == "" {
		// Tags of VLAN networks go on the device itself, not below those of a
		// tagged underlay.
		v.Uplink = j.plane.uplink.Name()
	}
	if err := j.plane.claim(l, j.conn.ID, fmt.Sprintf("VLAN %d of %s", v.ID, v.Uplink)); err != nil {
		return nil, fmt.Errorf("%s: %w; Linux has one interface for each: %w", v, err, plane.ErrUnsupported)
	}
	uplink, err := j.plane.node.LinkByName(v.Uplink)
	if err != nil {
		return nil, fmt.Errorf("%s: find uplink %s: %w", v, v.Uplink, err)
	}
	if mtu := uplink.Attrs().MTU; j.conn.MTU > mtu {
		return nil, fmt.Errorf("%s: MTU %d is more than the %d of uplink %s", v, j.conn.MTU, mtu, v.Uplink)
	}
	return j.open(vlanPattern(v, uplink.Attrs().Index))
}

func vlanPattern(v plane.VLAN, uplink int) pattern {
	return pattern{
		words:   "VLAN",
		rxShort: packet.EthernetLen,
		make: func(attrs netlink.LinkAttrs) netlink.Link {
			attrs.ParentIndex = uplink
			return &netlink.Vlan{LinkAttrs: attrs, VlanId: int(v.ID), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		},
		fits: func(l netlink.Link) bool {
			have, ok := l.(*netlink.Vlan)
			return ok && have.ParentIndex == uplink && have.VlanId == int(v.ID) && have.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q
		},
		explain: func(err error) error {
			switch {
			case errors.Is(err, unix.EOPNOTSUPP):
				return fmt.Errorf("%w: this kernel has no VLAN interfaces: load module 8021q: %w", err, plane.ErrUnsupported)
			case errors.Is(err, unix.EEXIST):
				return fmt.Errorf("%w: an interface that is not ours has VLAN %d of %s", plane.ErrUnsupported, v.ID, v.Uplink)
			}
			return err
		},
	}
}
