// SPDX-License-Identifier: Apache-2.0

// Package survivors removes what a killed forwarder left in pods.
//
// A link between two pods of a node is a veth pair, which goes on when the
// forwarder is killed: that is wanted, and the next run adopts it when the
// connection is requested again. If it is closed before that, nobody would know
// of the pair. So such links are written down before they are made, and those
// that nobody has asked for again after a while are removed.
package survivors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/plane"
)

// Plane is a plane whose links between pods are written down.
type Plane struct {
	plane.Plane

	path string
	kept bool
	log  *slog.Logger

	mu sync.Mutex
	// links are those of this run, by connection.
	links map[string]pair
	// orphans are those of an earlier run that nobody has asked for yet.
	orphans map[string]pair

	timer *time.Timer
}

// pair is the two ends of a link.
type pair [2]plane.Kernel

// file is what is written down.
type file struct {
	Links map[string]pair `json:"links"`
}

// Keep wraps a plane. Its links between pods are written to the file at path,
// and those that an earlier run wrote there are removed unless they have been
// joined again within grace: as long as a connection outlives its last
// refresh. keptOnClose says that the plane's Close leaves links between pods up.
func Keep(p plane.Plane, path string, keptOnClose bool, grace time.Duration, log *slog.Logger) (*Plane, error) {
	k := &Plane{Plane: p, path: path, kept: keptOnClose, log: log, links: map[string]pair{}, orphans: map[string]pair{}}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return k, nil
	case err != nil:
		return nil, fmt.Errorf("read the links of an earlier run: %w", err)
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read the links of an earlier run: %s: %w; remove the file if it is not ours", path, err)
	}
	if len(f.Links) > 0 {
		k.orphans = f.Links
		k.timer = time.AfterFunc(grace, k.removeOrphans)
	}
	return k, nil
}

// Join writes a link between two pods down before it is made.
func (k *Plane) Join(ctx context.Context, c *plane.Connection) (plane.Link, error) {
	client, ok1 := c.Client.(plane.Kernel)
	endpoint, ok2 := c.Endpoint.(plane.Kernel)
	if !ok1 || !ok2 {
		return k.Plane.Join(ctx, c)
	}
	if err := k.record(c.ID, pair{client, endpoint}); err != nil {
		return plane.Link{}, err
	}
	link, err := k.Plane.Join(ctx, c)
	if err != nil && !k.joined(c.ID) {
		err = errors.Join(err, k.forget(c.ID))
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

// Close stops waiting for orphans; the next run finds them in the file.
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
	clear(k.links)
	return errors.Join(err, k.write())
}

func (k *Plane) record(id string, p pair) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.links[id]; ok && old.same(p) {
		return nil
	}
	k.links[id] = p
	// An orphan with an end of this link is the same pair.
	maps.DeleteFunc(k.orphans, func(_ string, o pair) bool { return o.shares(p) })
	return k.write()
}

func (k *Plane) forget(id string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.links[id]; !ok {
		return nil
	}
	delete(k.links, id)
	return k.write()
}

// write replaces the file. k.mu is held.
func (k *Plane) write() error {
	all := maps.Clone(k.orphans)
	maps.Copy(all, k.links)
	if len(all) == 0 {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("write links down: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(file{Links: all})
	if err != nil {
		return fmt.Errorf("write links down: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o755); err != nil {
		return fmt.Errorf("write links down: %w", err)
	}
	// Renamed into place, so that a kill leaves the old file or the new one.
	next := k.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write links down: %w", err)
	}
	if err := os.Rename(next, k.path); err != nil {
		return fmt.Errorf("write links down: %w", err)
	}
	return nil
}

// same compares all but the paths to the namespaces, which change.
func (p pair) same(q pair) bool {
	for i := range p {
		p[i].NetNS, q[i].NetNS = "", ""
	}
	return p == q
}

// shares tells whether the pairs have an interface in common.
func (p pair) shares(q pair) bool {
	for _, a := range p {
		for _, b := range q {
			if a.Device == b.Device && a.Inode == b.Inode && a.Name == b.Name {
				return true
			}
		}
	}
	return false
}
