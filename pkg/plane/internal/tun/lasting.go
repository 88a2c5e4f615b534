// SPDX-License-Identifier: Apache-2.0

package tun

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// Adopt takes over a lasting device that another process has left, as Open does,
// and sets it up again. It makes none: an error wraps os.ErrNotExist if there is
// none. If Adopt fails, the device stays where it is.
func (d *Device) Adopt(fault func(string) error) (fd int, err error) {
	fd = -1
	err = d.inPod(func(h *netlink.Handle) error {
		if err := fault("adopt"); err != nil {
			return err
		}
		l, err := d.left(h)
		if err != nil {
			return err
		}
		if l == nil {
			return fmt.Errorf("take over interface %s: %w", d.Name, os.ErrNotExist)
		}
		if fd, err = d.reattach(h, l); err != nil {
			return err
		}
		return d.configure(h, fault)
	})
	if err != nil && fd >= 0 {
		_ = unix.Close(fd)
		fd = -1
	}
	return fd, err
}

// Remove takes a device away, also a lasting one, and closes its descriptor.
func Remove(fd int) error {
	err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0)
	if errors.Is(err, unix.EBADFD) { // it is gone
		err = nil
	}
	return errors.Join(err, unix.Close(fd))
}

// persist has the device outlive its descriptor.
func (d *Device) persist(fd int, fault func(string) error) error {
	if err := fault("persist"); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("have interface %s outlive this process: %w", d.Name, err)
	}
	return nil
}

// takeOver is Adopt for Open: fd is -1 if there is no device that can be taken
// over.
func (d *Device) takeOver(h *netlink.Handle, fault func(string) error) (fd int, err error) {
	if err := fault("adopt"); err != nil {
		return -1, err
	}
	l, err := d.left(h)
	if err != nil || l == nil {
		return -1, err
	}
	if fd, err = d.reattach(h, l); err != nil {
		return -1, nil // a new one takes its place
	}
	return fd, nil
}

// left looks for a device of this kind that has our name and alias. It is nil if
// there is none.
func (d *Device) left(h *netlink.Handle) (*netlink.Tuntap, error) {
	l, err := podif.Find(h, plane.Kernel{Name: d.Name, Alias: d.Alias})
	if err != nil || l == nil {
		return nil, err
	}
	mode := netlink.TUNTAP_MODE_TAP
	if d.Link == packet.IP {
		mode = netlink.TUNTAP_MODE_TUN
	}
	t, ok := l.(*netlink.Tuntap)
	if !ok || t.Mode != mode {
		return nil, nil
	}
	return t, nil
}

// reattach returns a descriptor of a device that is there.
func (d *Device) reattach(h *netlink.Handle, left *netlink.Tuntap) (fd int, err error) {
	if fd, err = d.create(0); err != nil {
		return -1, fmt.Errorf("take over: %w", err)
	}
	// Had it gone meanwhile, there is a new one, which goes with the descriptor.
	l, err := h.LinkByName(d.Name)
	if err == nil && l.Attrs().Index != left.Index {
		err = fmt.Errorf("it was replaced meanwhile: %w", os.ErrNotExist)
	}
	if err == nil {
		err = standardHeader(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("take over interface %s: %w", d.Name, err)
	}
	return fd, nil
}

// standardHeader undoes what the pod may have set on a device while nobody else
// had it: the length of the header before each packet, and its byte order.
func standardHeader(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, packet.OffloadLen); err != nil {
		return fmt.Errorf("set length of header: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 0); err != nil {
		return fmt.Errorf("set byte order of header: %w", err)
	}
	return nil
}
