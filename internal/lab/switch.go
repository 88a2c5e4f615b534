// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/lab/dot1q"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// bridgeName is the name of the switch's bridge.
const bridgeName = "switch"

// ethernetSwitch is an underlay that joins more than two: a bridge in a namespace
// of its own. It forwards tagged frames like any others, by MAC address.
type ethernetSwitch struct {
	*Namespace
	mtu   int
	ports int
}

// addSwitch makes the underlay of a lab with Config.Switch, without ports.
func (l *Lab) addSwitch() error {
	ns, err := newNamespace(l.name + "-switch")
	if err != nil {
		return err
	}
	l.pods = append(l.pods, ns)
	l.ether = &ethernetSwitch{Namespace: ns, mtu: l.MTU}
	return netns.Do(ns.Path, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = bridgeName, l.MTU
		snooping := false // nobody asks for reports
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return fmt.Errorf("make the switch: %w", err)
		}
		return raise(bridgeName)
	})
}

// joinBySwitch connects the nodes to a switch.
func (l *Lab) joinBySwitch() error {
	if err := l.addSwitch(); err != nil {
		return err
	}
	for _, n := range l.Nodes {
		if err := l.ether.plug(n.Namespace, UplinkName); err != nil {
			return err
		}
	}
	return nil
}

// plug makes an interface in a namespace and connects it to a port of the
// switch. It is left down.
func (s *ethernetSwitch) plug(in *Namespace, name string) error {
	f, err := os.Open(in.Path)
	if err != nil {
		return fmt.Errorf("plug %s into the switch: %w", in.Name, err)
	}
	defer func() { _ = f.Close() }()
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	err = netns.Do(s.Path, func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		if err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: port, MTU: s.mtu, MasterIndex: bridge.Attrs().Index, NumTxQueues: 1, NumRxQueues: 1},
			PeerName:  name, PeerNamespace: netlink.NsFd(f.Fd()), PeerMTU: uint32(s.mtu),
		}); err != nil {
			return err
		}
		if err := dot1q.Finish(port); err != nil {
			return err
		}
		return raise(port)
	})
	if err != nil {
		return fmt.Errorf("plug %s into the switch: %w", in.Name, err)
	}
	return nil
}

func raise(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
