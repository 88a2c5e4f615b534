// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tunnels"
)

// vxlanTTL is the one that the embedded plane sends.
const vxlanTTL = 64

// From linux/if_link.h; netlink has no name for it. Linux has it since 4.20 and
// passes over it before.
const (
	iflaVXLANDF = 29
	vxlanDFSet  = 1
)

// Fragments tells whether Linux fragments the outer packets of such tunnels where
// they are longer than the underlay's MTU. It does so for WireGuard, for its devices
// and for our sockets, but not for VXLAN: a device on an uplink takes no larger MTU
// than the uplink leaves. One on none does, but over IPv4 it then lowers the path MTU
// of the pod's route to what fits, and over IPv6 it sends no fragments.
func Fragments(tunnel plane.Kind) bool { return tunnel == plane.KindWireGuard }

func (j *joint) openVXLAN(l *link, v plane.VXLAN) (way, error) {
	if err := tunnels.CheckVXLAN(j.conn.Payload, v); err != nil {
		return nil, err
	}
	if v.LocalPort != v.RemotePort {
		return nil, fmt.Errorf("%s: a VXLAN device of Linux sends to the port that it listens on, not to %d from a listener on %d: "+
			"set the same NSM_VXLAN_PORT on both nodes: %w", v, v.RemotePort, v.LocalPort, plane.ErrUnsupported)
	}
	v.Local, v.Remote = v.Local.Unmap(), v.Remote.Unmap()
	if err := j.plane.claim(l, j.conn.ID, vniClaim(v)); err != nil {
		return nil, fmt.Errorf("%s: %w; Linux tells senders apart by VNI alone, another VNI will do: %w", v, err, plane.ErrUnsupported)
	}
	uplink, err := j.plane.node.LinkByName(j.plane.uplink.LinkName())
	if err != nil {
		return nil, fmt.Errorf("find uplink %s: %w", j.plane.uplink.LinkName(), err)
	}
	return j.open(vxlanPattern(v, uplink.Attrs().Index))
}

// vniClaim is what Linux looks a device up by. It has a socket of its own for
// either family.
func vniClaim(v plane.VXLAN) string {
	family := "IPv6"
	if v.Local.Is4() {
		family = "IPv4"
	}
	return fmt.Sprintf("VNI %d on %s UDP port %d", v.VNI, family, v.LocalPort)
}

func vxlanPattern(v plane.VXLAN, uplink int) pattern {
	return pattern{
		words:   "VXLAN",
		rxShort: packet.EthernetLen, txShort: packet.EthernetLen,
		make: func(attrs netlink.LinkAttrs) netlink.Link {
			// Checksums are left as Linux has them: on IPv6 they are sent and
			// expected (RFC 8200, 8.1), as by the embedded plane. All devices
			// on a port have to agree on it, also those that are not ours.
			return &netlink.Vxlan{
				LinkAttrs: attrs, VtepDevIndex: uplink, VxlanId: int(v.VNI), Port: int(v.LocalPort),
				SrcAddr: v.Local.AsSlice(), Group: v.Remote.AsSlice(), TTL: vxlanTTL,
			}
		},
		fits: func(l netlink.Link) bool {
			have, ok := l.(*netlink.Vxlan)
			if !ok {
				return false
			}
			local, _ := netip.AddrFromSlice(have.SrcAddr)
			remote, _ := netip.AddrFromSlice(have.Group)
			return have.VtepDevIndex == uplink && have.VxlanId == int(v.VNI) && have.Port == int(v.LocalPort) &&
				local == v.Local && remote == v.Remote && have.TTL == vxlanTTL && !have.Learning && !have.FlowBased
		},
		finish: func(index int) error {
			if err := setDF(index); err != nil {
				return fmt.Errorf("set DF: %w", err)
			}
			return nil
		},
		explain: func(err error) error {
			switch {
			case errors.Is(err, unix.EEXIST):
				return fmt.Errorf("%w: a device that is not ours has %s", plane.ErrUnsupported, vniClaim(v))
			case errors.Is(err, unix.EADDRINUSE):
				return fmt.Errorf("%w: UDP port %d of the node is taken, by a program or by VXLAN devices with other settings (a CNI's?): set NSM_VXLAN_PORT to a free one", err, v.LocalPort)
			case errors.Is(err, unix.EADDRNOTAVAIL):
				return fmt.Errorf("%w: %s is no address of this node", err, v.Local)
			}
			return err
		},
	}
}

// setDF forbids routers to fragment what a VXLAN device sends over IPv4: the pod
// is told what is too big instead.
func setDF(index int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("vxlan"))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(iflaVXLANDF, nl.Uint8Attr(vxlanDFSet))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
