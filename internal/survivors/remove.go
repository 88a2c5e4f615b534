// SPDX-License-Identifier: Apache-2.0

package survivors

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/podnet"
	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// removeOrphans removes the links of an earlier run that nobody has asked for.
func (k *Plane) removeOrphans() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, left := range k.orphans {
		if err := k.removeOrphan(&left); err != nil {
			k.log.Warn("remove a link that an earlier run left", "connection", id, "error", err)
		}
	}
}

// removeOrphan removes one of them, or leaves it to the next run. k.mu is held.
func (k *Plane) removeOrphan(left *entry) error {
	id := left.Connection
	if err := k.Forget(id); err != nil {
		return err
	}
	for _, end := range left.Interfaces {
		if err := remove(end); err != nil {
			return err
		}
	}
	k.log.Info("removed a link that an earlier run left", "connection", id)
	delete(k.orphans, id)
	return k.book.strike(id)
}

// remove deletes an interface if it is still what was written down; the other end
// of a veth pair goes with it. Policy rules of the interface are taken back as well.
func remove(end plane.Kernel) error {
	path := find(end)
	if path == "" {
		return nil
	}
	err := netns.Do(path, func() error {
		link, err := netlink.LinkByName(end.Name)
		var gone netlink.LinkNotFoundError
		if errors.As(err, &gone) {
			return nil
		}
		if err != nil {
			return err
		}
		if link.Attrs().Alias != end.Alias {
			return nil // somebody else's by now
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", end, err)
	}
	return podnet.Remove(path, end.Name)
}

// find looks for a process in the end's namespace. Without one the pod is gone,
// and the path is empty.
func find(end plane.Kernel) string {
	for pid := range netns.Processes(end.Device, end.Inode) {
		return netns.Of(pid)
	}
	return ""
}
