// SPDX-License-Identifier: Apache-2.0

// Package tun makes TUN and TAP devices in pods, and gives TUN devices to
// WireGuard tunnels. Packets come and go with an Offload in front, so that the
// pod's kernel may leave large ones whole.
package tun

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// queueLen is how many packets of a pod wait for us at most; each may be 64 KiB
// large. It is the transmit queue length of a veth.
const queueLen = 1000

// Device describes a TUN device, or a TAP if Link is packet.Ethernet.
type Device struct {
	NetNS string // path, as of internal/netns
	Name  string
	Alias string
	Link  packet.Link
	MTU   int
	MAC   net.HardwareAddr // of a TAP
	// Lasting: the device outlives the descriptor, until Remove.
	Lasting bool
}

// Open makes the device in its namespace and sets it up. It lives as long as the
// descriptor, which does not block, unless it is lasting. An interface with its
// name and alias that outlived another process makes room; a lasting device takes
// over one of its kind instead, with the addresses and routes on it. fault is
// called before each step, with its name; an error from it ends Open like one of
// the step, and no device is left.
//
// An error wraps podif.ErrNameTaken if there is an interface of that name.
func (d *Device) Open(fault func(string) error) (fd int, err error) {
	fd = -1
	err = d.inPod(func(h *netlink.Handle) (err error) {
		if d.Lasting {
			if fd, err = d.takeOver(h, fault); err != nil {
				return err
			}
		}
		if fd < 0 {
			if fd, err = d.make(h, fault); err != nil {
				return err
			}
		}
		if err := d.configure(h, fault); err != nil || !d.Lasting {
			return err
		}
		return d.persist(fd, fault)
	})
	if err != nil && fd >= 0 {
		_ = Remove(fd)
		fd = -1
	}
	return fd, err
}

// inPod runs a function in the device's namespace, with an rtnetlink socket there.
func (d *Device) inPod(f func(*netlink.Handle) error) error {
	return netns.Do(d.NetNS, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open rtnetlink socket: %w", err)
		}
		defer h.Close()
		return f(h)
	})
}

// make makes the device, with nothing set on it.
func (d *Device) make(h *netlink.Handle, fault func(string) error) (fd int, err error) {
	if err := d.makeRoom(h); err != nil {
		return -1, err
	}
	if err := fault("create"); err != nil {
		return -1, err
	}
	return d.create(unix.IFF_TUN_EXCL)
}

func (d *Device) configure(h *netlink.Handle, fault func(string) error) error {
	if err := fault("configure"); err != nil {
		return err
	}
	return podif.Configure(h, d.Name, podif.Settings{Alias: d.Alias, MAC: d.MAC, MTU: d.MTU, Queue: queueLen})
}

func (d *Device) makeRoom(h *netlink.Handle) error {
	l, err := podif.Find(h, plane.Kernel{Name: d.Name, Alias: d.Alias})
	if err != nil || l == nil {
		return err
	}
	return podif.Evict(h, l)
}

// create returns a descriptor of the device, which is made if it is not there;
// flags may say that it must not be.
func (d *Device) create(flags uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := d.attach(fd, flags); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *Device) attach(fd int, flags uint16) error {
	ifr, err := unix.NewIfreq(d.Name)
	if err != nil {
		return fmt.Errorf("interface name %q: %w", d.Name, err)
	}
	mode := uint16(unix.IFF_TAP)
	if d.Link == packet.IP {
		mode = unix.IFF_TUN
	}
	ifr.SetUint16(mode | unix.IFF_NO_PI | unix.IFF_VNET_HDR | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		switch {
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
			return fmt.Errorf("make interface %s: %w", d.Name, podif.ErrNameTaken)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("make interface %s: %w: CAP_NET_ADMIN is needed in the pod's user namespace", d.Name, err)
		}
		return fmt.Errorf("make interface %s: %w", d.Name, err)
	}
	err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadUDP)
	if errors.Is(err, unix.EINVAL) {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadTCP)
	}
	if err != nil {
		return fmt.Errorf("set offload of %s: %w", d.Name, err)
	}
	return nil
}

// What a device may leave to us. Linux 6.2 has UDP segmentation, and only both
// families together.
const (
	offloadTCP = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	offloadUDP = offloadTCP | unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// Trains tells whether a device that Open has made takes trains of UDP datagrams
// (packet.GSOUDP).
func Trains(fd int) bool { return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadUDP) == nil }
