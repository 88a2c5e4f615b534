// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// device is a tunnel's device that lies in a pod, and is bound to the node's
// network namespace all the same.
type device struct {
	joint
	pattern
	handle *netlink.Handle // in the pod's namespace
	index  int
}

// pattern is a type of device with its parameters.
type pattern struct {
	words string // for plane.Link
	// make returns the device as netlink wants it, given what all types have.
	make func(netlink.LinkAttrs) netlink.Link
	// fits tells whether a device has the parameters.
	fits func(netlink.Link) bool
	// rxShort and txShort are the bytes of each packet, Ethernet's header, that
	// Linux leaves out of the device's counters.
	rxShort, txShort uint64
	// placeless: Linux does not say which namespace such a device sends from.
	placeless bool
	// prepare finds out what can be known before a device is made. It may be
	// nil, and so may the next two.
	prepare func() error
	// finish sets on a new device what make cannot say, and renew on one that
	// fits what may have changed. They run in the pod's namespace.
	finish func(index int) error
	renew  func() error
	// explain makes an error of the kernel's understood.
	explain func(error) error
}

// open finds the device of an earlier process, or makes one in the pod, under
// its name.
func (j *joint) open(p pattern) (way, error) {
	d, err := j.openDevice(p)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (j *joint) openDevice(p pattern) (*device, error) {
	d := &device{joint: *j, pattern: p}
	if err := d.open(); err != nil {
		if d.handle != nil {
			d.handle.Close()
		}
		return nil, fmt.Errorf("%s: %w", j.pod, err)
	}
	return d, nil
}

func (d *device) open() error {
	if err := podif.Check(d.pod); err != nil {
		return err
	}
	if err := d.uplinkUp(); err != nil {
		return err
	}
	var err error
	if d.handle, err = netns.NetlinkHandle(d.pod.NetNS); err != nil {
		return err
	}
	if err := d.plane.fault("adopt"); err != nil {
		return err
	}
	adopted, err := d.adopt()
	if err != nil {
		return err
	}
	if !adopted {
		if err := d.create(); err != nil {
			return err
		}
	}
	if err := d.configure(adopted); err != nil {
		// A device that was adopted goes as well: its connection failed.
		return errors.Join(err, d.delete())
	}
	return nil
}

// adopt looks for the device. One with our name and alias that differs is the
// rest of another connection of ours, and removed.
func (d *device) adopt() (bool, error) {
	l, err := podif.Find(d.handle, d.pod)
	if err != nil || l == nil {
		return false, err
	}
	here, err := d.boundHere(l)
	if err != nil {
		return false, err
	}
	if here && d.fits(l) {
		d.index = l.Attrs().Index
		return true, nil
	}
	return false, podif.Evict(d.handle, l)
}

// boundHere tells whether a device of the pod sends from the node's namespace.
func (d *device) boundHere(l netlink.Link) (bool, error) {
	if d.placeless {
		return true, nil
	}
	id := -1
	err := netns.Do(d.plane.netns, func() error {
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("open the node's network namespace: %w", err)
		}
		defer f.Close()
		if id, err = d.handle.GetNetNsIdByFd(int(f.Fd())); err != nil {
			return fmt.Errorf("look for the node's network namespace: %w", err)
		}
		return nil
	})
	return l.Attrs().NetNsID == id, err
}

// create makes the device in the pod at once, so that it never is in the node's
// namespace under another name.
func (d *device) create() error {
	if d.prepare != nil {
		if err := d.prepare(); err != nil {
			return fmt.Errorf("make %s device: %w", d.words, err)
		}
	}
	pod, err := os.Open(d.pod.NetNS)
	if err != nil {
		return fmt.Errorf("open the pod's network namespace: %w", err)
	}
	defer pod.Close()
	if err := d.plane.fault("create"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = d.pod.Name, d.conn.MTU, podif.MAC(d.conn.ID, d.pod)
	attrs.Namespace = netlink.NsFd(int(pod.Fd()))
	if err := d.plane.node.LinkAdd(d.make(attrs)); err != nil {
		return fmt.Errorf("make %s device: %w", d.words, d.reason(err))
	}
	if err := d.find(); err != nil {
		// By its name, since that is all that is known of it.
		byName := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: d.pod.Name}}
		return errors.Join(err, d.handle.LinkDel(byName))
	}
	return nil
}

// find learns the index of the device that was made.
func (d *device) find() error {
	if err := d.plane.fault("find"); err != nil {
		return err
	}
	l, err := d.handle.LinkByName(d.pod.Name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", d.pod.Name, err)
	}
	d.index = l.Attrs().Index
	return nil
}

// reason says of an error of the kernel what can be done about it.
func (d *device) reason(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: CAP_NET_ADMIN is needed in the network namespaces of the node and of the pod", err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: the uplink is gone", err)
	}
	return d.explain(err)
}

func (d *device) configure(adopted bool) error {
	settle := d.renew
	if !adopted && d.finish != nil {
		settle = func() error { return d.finish(d.index) }
	}
	if settle != nil {
		if err := d.plane.fault("settle"); err != nil {
			return err
		}
		if err := netns.Do(d.pod.NetNS, settle); err != nil {
			return err
		}
	}
	if err := d.plane.fault("configure"); err != nil {
		return err
	}
	err := podif.Configure(d.handle, d.pod.Name, podif.Settings{Alias: d.pod.Alias, MTU: d.conn.MTU})
	if err != nil {
		return d.reason(err)
	}
	return d.plane.fault("configured")
}

func (d *device) path() string { return "kernel " + d.words }

func (d *device) count() [2]plane.Counters {
	l, err := d.handle.LinkByIndex(d.index)
	if err != nil || l.Attrs().Statistics == nil {
		return [2]plane.Counters{} // the pod is gone
	}
	s := l.Attrs().Statistics
	tunnel := plane.Counters{
		RxPackets: s.RxPackets, RxBytes: s.RxBytes + s.RxPackets*d.rxShort,
		TxPackets: s.TxPackets, TxBytes: s.TxBytes + s.TxPackets*d.txShort,
		Drops: s.RxDropped + s.RxErrors + s.TxDropped + s.TxErrors,
	}
	pod := plane.Counters{
		RxPackets: tunnel.TxPackets, RxBytes: tunnel.TxBytes,
		TxPackets: tunnel.RxPackets, TxBytes: tunnel.RxBytes,
	}
	return d.counters(pod, tunnel)
}

func (d *device) close() error {
	err := d.delete()
	d.handle.Close()
	if err != nil {
		return fmt.Errorf("%s: delete interface: %w", d.pod, err)
	}
	return nil
}

func (d *device) release() error {
	d.handle.Close()
	return nil
}

// delete deletes the device, if it is there. Its name may have changed hands; its
// index does not within a namespace, unless the device is gone.
func (d *device) delete() error {
	l, err := d.handle.LinkByIndex(d.index)
	if err != nil || d.pod.Alias != "" && l.Attrs().Alias != "" && l.Attrs().Alias != d.pod.Alias {
		return nil
	}
	if err := d.handle.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}
