// SPDX-License-Identifier: Apache-2.0

// Package survivors removes what a killed forwarder left in pods.
//
// A link between two pods of a node is a veth pair, which goes on when the
// forwarder is killed, and so do the tunnels of a plane whose tunnels are devices
// of Linux. That is wanted, and the next run adopts them when the connection is
// requested again. If it is closed before that, nobody would know of them. So
// such interfaces are written down before they are made, and those that nobody
// has asked for again after a while are removed.
//
// A tunnel of such a plane that is the process itself, for want of a device, is
// resumed by the next run at once. For that its keys are written down as well,
// the private one among them: for as long as the connection lives, in a file that
// only the forwarder's user can read.
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
	links map[string]entry
	// orphans are those of an earlier run that nobody has asked for yet.
	orphans map[string]entry

	timer *time.Timer // of removeOrphans, nil if there were none
}

// Keep wraps a plane. Its links that outlive the process are written down in the
// folder at path, and those that an earlier run wrote there are removed unless
// they have been joined again within grace: as long as a connection outlives its
// last refresh. keptOnClose says that the plane's Close leaves them up. Files in
// the folder that make no sense are reported and passed over.
func Keep(p plane.Plane, path string, keptOnClose bool, grace time.Duration, log *slog.Logger) (*Plane, error) {
	k := &Plane{
		Plane: p, Devices: plane.DevicesOf(p),
		book: book(path), kept: keptOnClose, grace: grace, log: log, links: map[string]entry{},
	}
	var err error
	if k.orphans, err = k.book.read(log); err != nil {
		return nil, err
	}
	for _, left := range k.orphans {
		if len(left.Interfaces) == 1 {
			k.Recall(left.connection())
		}
	}
	if len(k.orphans) > 0 {
		k.timer = time.AfterFunc(grace, k.removeOrphans)
	}
	return k, nil
}

// lasting tells whether interfaces of a connection outlive the process, and is
// what is to be written down of them.
func (k *Plane) lasting(c *plane.Connection) (entry, bool) {
	e := newEntry(c, k.InProcess(c))
	_, ok := k.Plane.(plane.Devices)
	return e, len(e.Interfaces) > 1 || ok && len(e.Interfaces) > 0
}

// Join writes lasting interfaces down before they are made.
func (k *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	e, lasting := k.lasting(c)
	orphans, err := k.record(&e, lasting)
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

// Leave strikes the link out when it is gone, also one that was resumed.
func (k *Plane) Leave(ctx context.Context, id string) error {
	if err := k.Plane.Leave(ctx, id); err != nil {
		return err
	}
	return errors.Join(k.forgetResumed(id), k.forget(id))
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
	for id := range k.orphans {
		err = errors.Join(err, k.strikeResumed(id))
	}
	return err
}

// record writes a link down if it is lasting, and returns the orphans that it is
// the same as.
func (k *Plane) record(e *entry, lasting bool) (map[string]entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := e.Connection
	if old, ok := k.links[id]; ok && old.same(e) {
		return nil, nil
	}
	if o, ok := k.orphans[id]; ok && !o.shares(e) {
		// The connection leads elsewhere, and its entry is about to go.
		if err := k.removeOrphan(&o); err != nil {
			k.log.Warn("remove a link that an earlier run left", "connection", id, "error", err)
		}
	}
	if lasting {
		if err := k.book.write(*e); err != nil {
			return nil, err
		}
		k.links[id] = *e
	}
	same := make(map[string]entry)
	for other, o := range k.orphans {
		if !o.shares(e) {
			continue
		}
		same[other] = o
		delete(k.orphans, other)
		if other == id && lasting {
			continue
		}
		if err := errors.Join(k.Forget(other), k.book.strike(other)); err != nil {
			return nil, err
		}
	}
	return same, nil
}

// resumes tells whether the plane resumes such a link when it is recalled.
func (k *Plane) resumes(e *entry) bool { return e.Tunnel != nil && k.InProcess(e.connection()) }

// takeBack undoes record for a link that could not be made. What an earlier run
// has left may still be there.
func (k *Plane) takeBack(id string, orphans map[string]entry) error {
	err := k.forget(id)
	if len(orphans) == 0 {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other, o := range orphans {
		k.orphans[other] = o
		err = errors.Join(err, k.book.write(o))
	}
	k.timer.Reset(k.grace)
	return err
}

// forgetResumed strikes out an orphan that the plane had resumed, and has ended.
func (k *Plane) forgetResumed(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.strikeResumed(id)
}

func (k *Plane) strikeResumed(id string) error {
	if o, ok := k.orphans[id]; !ok || !k.resumes(&o) {
		return nil
	}
	delete(k.orphans, id)
	return k.book.strike(id)
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
