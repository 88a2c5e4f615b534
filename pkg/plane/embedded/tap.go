// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// tapQueue is how many packets of a pod wait for us at most; each may be 64 KiB
// large. It is the transmit queue length of a veth.
const tapQueue = 1000

// device describes a TUN or TAP device.
type device struct {
	netns string
	name  string
	alias string
	link  packet.Link
	mtu   int
	mac   net.HardwareAddr // TAP only
}

// open makes the device in its namespace and sets it up. It lives as long as
// the descriptor, which does not block.
func (d *device) open(fault func(string) error) (fd int, err error) {
	fd = -1
	err = netns.Do(d.netns, func() (err error) {
		if err := fault("create"); err != nil {
			return err
		}
		fd, err = d.create()
		if err != nil {
			return err
		}
		if err := errors.Join(fault("configure"), d.configure()); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return -1, err
	}
	return fd, nil
}

func (d *device) create() (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := d.attach(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *device) attach(fd int) error {
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("interface name %q: %w", d.name, err)
	}
	mode := uint16(unix.IFF_TAP)
	if d.link == packet.IP {
		mode = unix.IFF_TUN
	}
	ifr.SetUint16(mode | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		switch {
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
			return fmt.Errorf("make interface %s: %w", d.name, errNameTaken)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("make interface %s: %w: CAP_NET_ADMIN is needed in the pod's user namespace", d.name, err)
		}
		return fmt.Errorf("make interface %s: %w", d.name, err)
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	// Linux 6.2 has UDP segmentation, and only both families together.
	err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6)
	if errors.Is(err, unix.EINVAL) {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
	}
	if err != nil {
		return fmt.Errorf("set offload of %s: %w", d.name, err)
	}
	return nil
}

// configure runs in the namespace of the device.
func (d *device) configure() error {
	link, err := netlink.LinkByName(d.name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", d.name, err)
	}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"MAC address", func() error {
			if d.link == packet.IP {
				return nil
			}
			return netlink.LinkSetHardwareAddr(link, d.mac)
		}},
		{"alias", func() error {
			if d.alias == "" {
				return nil
			}
			return netlink.LinkSetAlias(link, d.alias)
		}},
		{"queue length", func() error { return netlink.LinkSetTxQLen(link, tapQueue) }},
		{"MTU", func() error { return netlink.LinkSetMTU(link, d.mtu) }},
		{"state up", func() error { return netlink.LinkSetUp(link) }},
	} {
		if err := step.run(); err != nil {
			return fmt.Errorf("set %s of interface %s: %w", step.name, d.name, err)
		}
	}
	return nil
}
