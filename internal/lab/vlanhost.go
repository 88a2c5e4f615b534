// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/lab/dot1q"
	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// VLANHost is a host on a VLAN of the underlay: Linux in a namespace of its own,
// with nothing of the mesh in it. Programs such as ping and iperf3 run there by
// Run and Background.
type VLANHost struct {
	*Namespace
	// ID of the VLAN. The frames of the host are tagged with it.
	ID uint16
	// MAC address of its interface, which is called UplinkName.
	MAC [6]byte
}

// AddVLANHost connects a host with these addresses to the underlay, on the VLAN
// with the given id. The lab is one with Config.Switch: the host sees both nodes,
// and other hosts of its VLAN.
//
// An error wraps ebpf.ErrNotSupported if the kernel cannot do it (dot1q.Attach).
func (l *Lab) AddVLANHost(id uint16, addrs ...netip.Prefix) (*VLANHost, error) {
	if l.ether == nil {
		return nil, errors.New("add a VLAN host: the lab has no switch: set Config.Switch")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vlanHosts++
	ns, err := newNamespace(fmt.Sprintf("%s-vlan%d-host%d", l.name, id, l.vlanHosts))
	if err != nil {
		return nil, err
	}
	l.pods = append(l.pods, ns)
	if err := l.ether.plug(ns, UplinkName); err != nil {
		return nil, err
	}
	host := &VLANHost{Namespace: ns, ID: id}
	if err := netns.Do(ns.Path, func() error { return host.configure(l, addrs) }); err != nil {
		return nil, fmt.Errorf("configure %s: %w", ns.Name, err)
	}
	return host, nil
}

// configure runs in the host's namespace.
func (h *VLANHost) configure(l *Lab, addrs []netip.Prefix) error {
	access, err := dot1q.Attach(UplinkName, h.ID)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, access.Close)
	link, err := netlink.LinkByName(UplinkName)
	if err != nil {
		return err
	}
	h.MAC = [6]byte(link.Attrs().HardwareAddr)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a.String())
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}
