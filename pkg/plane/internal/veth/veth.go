// SPDX-License-Identifier: Apache-2.0

// Package veth joins two pods of one node by a veth pair with one end in each:
// the shortest way there is, without a packet passing through this process.
package veth

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/podif"
)

// Pair is a veth pair between two pods. It outlives the process: Join after a
// restart finds it again.
type Pair struct {
	ends    [2]end
	payload plane.Payload
}

type end struct {
	port   plane.Kernel
	handle *netlink.Handle // in the pod's namespace
	index  int
}

// Join makes a pair for a connection between two pods, both ends up. A pair that
// is there already with the same names and aliases is taken over as it is.
//
// An error wraps podif.ErrNameTaken if somebody else's interface has one of the
// names. fault is called before each step, with its name; an error from it ends
// Join like one of the step.
func Join(c *plane.Connection, a, b plane.Kernel, fault func(step string) error) (*Pair, error) {
	p := &Pair{ends: [2]end{{port: a}, {port: b}}, payload: c.Payload}
	if err := p.join(c.ID, c.MTU, fault); err != nil {
		p.closeHandles()
		return nil, fmt.Errorf("join by veth pair: %w", err)
	}
	return p, nil
}

func (p *Pair) join(id string, mtu int, fault func(string) error) (err error) {
	if a, b := p.ends[0].port, p.ends[1].port; a.Name == b.Name && a.Device == b.Device && a.Inode == b.Inode {
		return fmt.Errorf("both ends are %s", a)
	}
	for i := range p.ends {
		e := &p.ends[i]
		if err := podif.Check(e.port); err != nil {
			return err
		}
		if e.handle, err = netns.NetlinkHandle(e.port.NetNS); err != nil {
			return err
		}
	}
	if err := fault("veth adopt"); err != nil {
		return err
	}
	adopted, err := p.adopt()
	if err != nil {
		return err
	}
	if !adopted {
		if err := fault("veth create"); err != nil {
			return err
		}
		if err := p.create(id, mtu); err != nil {
			return err
		}
	}
	if err := p.configure(mtu, fault); err != nil {
		// A pair that was adopted goes as well: its connection failed.
		return errors.Join(err, p.delete())
	}
	return nil
}

func (p *Pair) configure(mtu int, fault func(string) error) error {
	for _, e := range p.ends {
		if err := fault("veth configure"); err != nil {
			return err
		}
		if err := podif.Configure(e.handle, e.port.Name, podif.Settings{Alias: e.port.Alias, MTU: mtu}); err != nil {
			return err
		}
	}
	return nil
}

// adopt looks for the pair. What else carries a name of ours and our alias is
// the rest of another connection of ours, and removed.
func (p *Pair) adopt() (bool, error) {
	var found [2]netlink.Link
	for i, e := range p.ends {
		var err error
		if found[i], err = podif.Find(e.handle, e.port); err != nil {
			return false, fmt.Errorf("%s: %w", e.port, err)
		}
	}
	if a, b := found[0], found[1]; a != nil && b != nil && a.Type() == "veth" && b.Type() == "veth" &&
		a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index {
		p.ends[0].index, p.ends[1].index = a.Attrs().Index, b.Attrs().Index
		return true, nil
	}
	for i, l := range found {
		if l == nil {
			continue
		}
		if err := podif.Evict(p.ends[i].handle, l); err != nil {
			return false, err
		}
	}
	return false, nil
}

// create makes both ends at once, each with its name in its namespace.
func (p *Pair) create(id string, mtu int) error {
	a, b := p.ends[0].port, p.ends[1].port
	peer, err := os.Open(b.NetNS)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer peer.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = a.Name, mtu, podif.MAC(id, a)
	err = p.ends[0].handle.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs,
		PeerName:  b.Name, PeerMTU: uint32(mtu), PeerHardwareAddr: podif.MAC(id, b),
		PeerNamespace: netlink.NsFd(int(peer.Fd())),
	})
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s or %s: %w", a, b, podif.ErrNameTaken)
	case err != nil:
		return fmt.Errorf("make interfaces: %w", err)
	}
	for i := range p.ends {
		e := &p.ends[i]
		l, err := e.handle.LinkByName(e.port.Name)
		if err != nil {
			return errors.Join(fmt.Errorf("find interface %s: %w", e.port.Name, err), p.delete())
		}
		e.index = l.Attrs().Index
	}
	return nil
}

// Counters are those of both ends, as plane.Counters has them.
func (p *Pair) Counters() [2]plane.Counters {
	var c [2]plane.Counters
	for i, e := range p.ends {
		l, err := e.handle.LinkByIndex(e.index)
		if err != nil || l.Attrs().Statistics == nil {
			continue // the pod is gone
		}
		s := l.Attrs().Statistics
		extra := uint64(0) // bytes of each packet that are not payload
		if p.payload == plane.IP {
			extra = packet.EthernetLen
		}
		c[i] = plane.Counters{
			RxPackets: s.TxPackets, RxBytes: s.TxBytes - s.TxPackets*extra,
			TxPackets: s.RxPackets, TxBytes: s.RxBytes - s.RxPackets*extra,
			Drops: s.TxDropped + s.RxDropped,
		}
	}
	return c
}

// Release lets go of the pair, and the kernel keeps it.
func (p *Pair) Release() { p.closeHandles() }

// Close deletes the pair, if it is there.
func (p *Pair) Close() error {
	err := p.delete()
	p.closeHandles()
	if err != nil {
		return fmt.Errorf("delete veth pair: %w", err)
	}
	return nil
}

// delete deletes one end, and the other one with it. Names may have changed
// hands; indices do not within a namespace, unless the pair is gone.
func (p *Pair) delete() error {
	for _, e := range p.ends {
		if e.index == 0 {
			continue
		}
		l, err := e.handle.LinkByIndex(e.index)
		if err != nil || l.Type() != "veth" {
			continue
		}
		if err := e.handle.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		return nil
	}
	return nil
}

func (p *Pair) closeHandles() {
	for i := range p.ends {
		if p.ends[i].handle != nil {
			p.ends[i].handle.Close()
			p.ends[i].handle = nil
		}
	}
}
