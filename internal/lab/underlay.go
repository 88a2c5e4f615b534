// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/lab/dot1q"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// UplinkName is the name of each node's link to the other.
const UplinkName = "eth0"

// ErrNoVLAN is wrapped by New for a VLAN-tagged underlay on a kernel without
// VLAN interfaces.
var ErrNoVLAN = errors.New("this kernel has no VLAN interfaces (module 8021q)")

// Uplink is the name of the interface that has the node's tunnel address:
// UplinkName, or a VLAN interface on top of it.
func (n *Node) Uplink() string {
	if n.lab.VLAN != 0 {
		return fmt.Sprintf("%s.%d", UplinkName, n.lab.VLAN)
	}
	return UplinkName
}

// joinNodes makes the underlay.
func (l *Lab) joinNodes() error {
	join := l.joinByLink
	if l.Switch {
		join = l.joinBySwitch
	}
	if err := join(); err != nil {
		return err
	}
	for _, n := range l.Nodes {
		if err := netns.Do(n.Path, n.configureUplink); err != nil {
			return fmt.Errorf("configure the uplink of %s: %w", n.Name, err)
		}
	}
	for _, n := range l.Nodes {
		if err := netns.Do(n.Path, n.awaitCarrier); err != nil {
			return fmt.Errorf("bring up the uplink of %s: %w", n.Name, err)
		}
	}
	return nil
}

// awaitCarrier returns when Linux has seen that the uplink is connected, which is
// up to a second after its other end is up.
func (n *Node) awaitCarrier() error {
	const limit = 10 * time.Second
	for started := time.Now(); ; time.Sleep(time.Millisecond) {
		link, err := netlink.LinkByName(n.Uplink())
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Since(started) > limit {
			return fmt.Errorf("%s is %s after %s", n.Uplink(), link.Attrs().OperState, limit)
		}
	}
}

// joinByLink joins the nodes by a veth pair with an end in each.
func (l *Lab) joinByLink() error {
	fds := make([]netlink.NsFd, 2)
	for i, n := range l.Nodes {
		f, err := os.Open(n.Path)
		if err != nil {
			return fmt.Errorf("join the nodes: %w", err)
		}
		defer func() { _ = f.Close() }()
		fds[i] = netlink.NsFd(f.Fd())
	}
	err := netns.Do(l.Nodes[0].Path, func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: UplinkName, MTU: l.MTU, Namespace: fds[0], NumTxQueues: 1, NumRxQueues: 1},
			PeerName:  UplinkName, PeerNamespace: fds[1], PeerMTU: uint32(l.MTU),
		})
	})
	if err != nil {
		return fmt.Errorf("join the nodes: %w", err)
	}
	return nil
}

// configureUplink runs in the node's namespace.
func (n *Node) configureUplink() error {
	if err := dot1q.Finish(UplinkName); err != nil {
		return err
	}
	if err := raise(UplinkName); err != nil {
		return err
	}
	if n.lab.VLAN != 0 {
		if err := addVLANInterface(n.lab.VLAN); err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(n.Uplink())
	if err != nil {
		return err
	}
	bits := 24
	if n.Addr.Is6() {
		bits = 64
	}
	addr, err := netlink.ParseAddr(netip.PrefixFrom(n.Addr, bits).String())
	if err != nil {
		return err
	}
	addr.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// addVLANInterface makes the uplink's VLAN interface.
func addVLANInterface(id uint16) error {
	parent, err := netlink.LinkByName(UplinkName)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = fmt.Sprintf("%s.%d", UplinkName, id), parent.Attrs().Index
	err = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: int(id), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("make %s: %w", attrs.Name, ErrNoVLAN)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", attrs.Name, err)
	}
	return nil
}
