// SPDX-License-Identifier: Apache-2.0

// Package survivors removes what a killed forwarder left in pods.
//
// A link between two pods of a node is a veth pair, which goes on when the
// forwarder is killed, and so do the tunnels of a plane whose tunnels are devices
// of Linux. That is wanted, and the next run adopts them when the connection is
// requested again. If it is closed before that, nobody would know of them. So
// such interfaces are written down before they are made, and those that nobody
// has asked for again after a while are removed.
package survivors

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Plane is a plane whose interfaces in pods are written down if they outlive the
// process.
type Plane struct {
	plane.Plane
	plane.Devices

	book  book
	kept  bool
	grace time.Duration
	log   *slog.Logger

	mu sync.Mutex
	// links are those of this run, by connection.
	links map[string]ends
	// orphans are those of an earlier run that nobody has asked for yet.
	orphans map[string]ends

	timer *time.Timer // of removeOrphans, nil if there were none
}

// ends are a link's interfaces in pods: two between pods, one of a tunnel.
type ends []plane.Kernel

// Keep wraps a plane. Its links that outlive the process are written down in the
// folder at path, and those that an earlier run wrote there are removed unless
// they have been joined again within grace: as long as a connection outlives its
// last refresh. keptOnClose says that the plane's Close leaves them up.
func Keep(p plane.Plane, path string, keptOnClose bool, grace time.Duration, log *slog.Logger) (*Plane, error) {
	k := &Plane{
		Plane: p, Devices: plane.DevicesOf(p),
		book: book(path), kept: keptOnClose, grace: grace, log: log, links: map[string]ends{},
	}
	var err error
	if k.orphans, err = k.book.read(); err != nil {
		return nil, err
	}
	for id, left := range k.orphans {
		if len(left) == 1 {
			k.Recall(id, left[0])
		}
	}
	if len(k.orphans) > 0 {
		k.timer = time.AfterFunc(grace, k.removeOrphans)
	}
	return k, nil
}

// lasting is the interfaces of a connection that outlive the process.
func (k *Plane) lasting(c *plane.Connection) ends {
	var all ends
	for _, port := range []plane.Port{c.Client, c.Endpoint} {
		if pod, ok := port.(plane.Kernel); ok {
			all = append(all, pod)
		}
	}
	if _, ok := k.Plane.(plane.Devices); !ok && len(all) < 2 {
		return nil // this process is the tunnel
	}
	return all
}

// Join writes lasting interfaces down before they are made.
func (k *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	all := k.lasting(c)
	if len(all) == 0 {
		return k.Plane.Join(ctx, c)
	}
	orphans, err := k.record(c.ID, all)
	if err != nil {
		return plane.Link{}, err
	}
	link, err := k.Plane.Join(ctx, c)
	if err != nil && !k.joined(c.ID) {
		err = errors.Join(err, k.takeBack(c.ID, orphans))
	}
	return link, err
}

// joined tells whether an earlier Join of the connection still holds.
func (k *Plane) joined(id string) bool {
	return slices.ContainsFunc(k.Links(), func(l plane.Link) bool { return l.ID == id })
}

// Leave strikes the link out when it is gone.
func (k *Plane) Leave(ctx context.Context, id string) error {
	if err := k.Plane.Leave(ctx, id); err != nil {
		return err
	}
	return k.forget(id)
}

// Drops are those of the plane, if it counts them.
func (k *Plane) Drops() map[string]uint64 {
	if p, ok := k.Plane.(interface{ Drops() map[string]uint64 }); ok {
		return p.Drops()
	}
	return nil
}

// Close stops waiting for orphans; the next run finds them written down.
func (k *Plane) Close() error {
	if k.timer != nil {
		k.timer.Stop()
	}
	err := k.Plane.Close()
	if k.kept {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.links {
		err = errors.Join(err, k.book.strike(id))
	}
	clear(k.links)
	return err
}

// record writes a link down, and returns the orphans that it is the same as.
func (k *Plane) record(id string, all ends) (map[string]ends, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.links[id]; ok && old.same(all) {
		return nil, nil
	}
	if o, ok := k.orphans[id]; ok && !o.shares(all) {
		// The connection leads elsewhere, and its entry is about to go.
		if err := k.removeOrphan(id, o); err != nil {
			k.log.Warn("remove a link that an earlier run left", "connection", id, "error", err)
		}
	}
	if err := k.book.write(id, all); err != nil {
		return nil, err
	}
	k.links[id] = all
	same := make(map[string]ends)
	for other, o := range k.orphans {
		if !o.shares(all) {
			continue
		}
		same[other] = o
		delete(k.orphans, other)
		if other == id {
			continue
		}
		if err := k.book.strike(other); err != nil {
			return nil, err
		}
	}
	return same, nil
}

// takeBack undoes record for a link that could not be made. What an earlier run
// has left may still be there.
func (k *Plane) takeBack(id string, orphans map[string]ends) error {
	err := k.forget(id)
	if len(orphans) == 0 {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other, o := range orphans {
		k.orphans[other] = o
		err = errors.Join(err, k.book.write(other, o))
	}
	k.timer.Reset(k.grace)
	return err
}

func (k *Plane) forget(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.links[id]; !ok {
		return nil
	}
	delete(k.links, id)
	return k.book.strike(id)
}

// same compares all but the paths to the namespaces, which change.
func (e ends) same(other ends) bool {
	return slices.EqualFunc(e, other, func(a, b plane.Kernel) bool {
		a.NetNS, b.NetNS = "", ""
		return a == b
	})
}

// shares tells whether the links have an interface in common.
func (e ends) shares(other ends) bool {
	for _, a := range e {
		for _, b := range other {
			if a.Device == b.Device && a.Inode == b.Inode && a.Name == b.Name {
				return true
			}
		}
	}
	return false
}
