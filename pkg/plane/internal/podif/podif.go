// SPDX-License-Identifier: Apache-2.0

// Package podif is what all kinds of interface in pods have in common: the
// checks before one is made, and what is set on it afterwards.
package podif

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// ErrNameTaken is wrapped by errors about an interface that cannot be made
// because somebody else's has its name.
var ErrNameTaken = errors.New("an interface of this name is there already")

// Check finds out whether an interface can be made, before anything is: its
// name is one for Linux, and the namespace is the one that was meant.
func Check(k plane.Kernel) error {
	switch {
	case k.Name == "" || k.Name == "." || k.Name == ".." || strings.ContainsAny(k.Name, "/:% \t\n\v\f\r\x00"):
		return fmt.Errorf("interface name %q is not possible in Linux", k.Name)
	case len(k.Name) >= unix.IFNAMSIZ:
		return fmt.Errorf("interface name %q has %d bytes, at most %d are possible", k.Name, len(k.Name), unix.IFNAMSIZ-1)
	}
	dev, ino, err := netns.Identity(k.NetNS)
	if err != nil {
		return fmt.Errorf("interface %s: the pod's network namespace cannot be reached: %w", k.Name, err)
	}
	if k.Inode != 0 && ino != k.Inode || k.Device != 0 && dev != k.Device {
		return fmt.Errorf("interface %s: %s leads to network namespace %d, not %d: the pod is gone", k.Name, k.NetNS, ino, k.Inode)
	}
	return nil
}

// Find looks for the interface of a port that outlived the process that made it:
// one of its name, of a kind that lives by itself, that has its alias. It is nil
// if there is none. An error wraps ErrNameTaken if somebody else's has the name.
func Find(h *netlink.Handle, k plane.Kernel) (netlink.Link, error) {
	l, err := h.LinkByName(k.Name)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for interface %s: %w", k.Name, err)
	}
	if livesByItself(l) && k.Alias != "" && l.Attrs().Alias == k.Alias {
		return l, nil
	}
	return nil, fmt.Errorf("make interface %s: %w", k.Name, ErrNameTaken)
}

// livesByItself tells whether an interface needs no process of ours.
func livesByItself(l netlink.Link) bool {
	switch l := l.(type) {
	case *netlink.Veth, *netlink.Vxlan, *netlink.Vlan, *netlink.Wireguard:
		return true
	case *netlink.Tuntap:
		return !l.NonPersist
	}
	return false
}

// Evict deletes an interface that Find has found.
func Evict(h *netlink.Handle, l netlink.Link) error {
	// The end of a veth pair may have gone with the other one.
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s, left over from before: %w", l.Attrs().Name, err)
	}
	return nil
}

// MAC is a locally administered address for an interface of a connection. It is
// the same whenever the interface is made, so that a restart leaves the
// neighbours' tables right.
func MAC(id string, k plane.Kernel) net.HardwareAddr {
	h := sha256.Sum256([]byte(strconv.FormatUint(k.Inode, 10) + "/" + k.Name + "/" + id))
	mac := net.HardwareAddr(h[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// Settings of an interface.
type Settings struct {
	Alias string           // empty: none
	MAC   net.HardwareAddr // nil: as it is
	MTU   int
	Queue int // length of the transmit queue in packets, 0: as it is
}

// Configure applies settings to an interface and sets it up.
func Configure(h *netlink.Handle, name string, s Settings) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	for _, step := range []struct {
		name   string
		needed bool
		run    func() error
	}{
		{"MAC address", s.MAC != nil, func() error { return h.LinkSetHardwareAddr(link, s.MAC) }},
		{"alias", s.Alias != "", func() error { return h.LinkSetAlias(link, s.Alias) }},
		{"queue length", s.Queue != 0, func() error { return h.LinkSetTxQLen(link, s.Queue) }},
		{"MTU", true, func() error { return h.LinkSetMTU(link, s.MTU) }},
		{"state up", true, func() error { return h.LinkSetUp(link) }},
	} {
		if !step.needed {
			continue
		}
		if err := step.run(); err != nil {
			return fmt.Errorf("set %s of interface %s: %w", step.name, name, err)
		}
	}
	return nil
}
