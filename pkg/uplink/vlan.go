// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Features of a device that keep frames of VLANs which Linux has no interface for,
// or their tags, from whoever reads raw frames.
const (
	tagStripping = "rx-vlan-hw-parse" // ethtool -K calls it rxvlan
	tagFiltering = "rx-vlan-filter"
)

// ReceiveVLANs has a device deliver frames with VLAN tags as they are on the wire,
// whatever address they are for. It fails if the device takes the tags off and
// cannot be told not to.
func (s *Settings) ReceiveVLANs(link string) error {
	if err := s.SetPromiscuous(link, true); err != nil {
		return err
	}
	for _, feature := range []string{tagFiltering, tagStripping} {
		if err := s.SetFeature(link, feature, false); err != nil {
			return err
		}
	}
	on, err := s.feature(link, tagStripping)
	if err == nil && on {
		err = fmt.Errorf("the driver of %s takes VLAN tags off the frames and cannot be told not to (%s is fixed)", link, tagStripping)
	}
	return err
}

func (s *Settings) feature(link, feature string) (on bool, err error) {
	err = netns.Do(s.config.NetNS, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("find %s: %w", link, err)
		}
		value, err := readFeature(l, feature)
		on = value == onOff(true)
		return err
	})
	return on, err
}

// TagStripping tells whether a device takes the VLAN tags off the frames that it
// receives, and whether it can be told not to.
func TagStripping(device string) (on, fixed bool, err error) {
	err = withEthtool(func(e *ethtool.Ethtool) error {
		features, err := e.FeaturesWithState(device)
		state := features[tagStripping]
		on, fixed = state.Active, !state.Available || state.NeverChanged
		return err
	})
	if err != nil {
		return false, false, fmt.Errorf("read features of %s: %w", device, err)
	}
	return on, fixed, nil
}

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
	return vlanOf(links, u.Index(), id), nil
}

// vlanOf finds the VLAN of a device among the links of its namespace.
func vlanOf(links []netlink.Link, device int, id uint16) string {
	for _, l := range links {
		v, ok := l.(*netlink.Vlan)
		here := ok && v.NetNsID < 0 // the device is in this namespace, too
		if here && v.ParentIndex == device && v.VlanId == int(id) && v.VlanProtocol == netlink.VLAN_PROTOCOL_8021Q {
			return v.Name
		}
	}
	return ""
}
