// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"slices"
	"sync"
	"sync/atomic"
)

// indexTable finds sessions by the index that our side chose for them. Lookups
// take no lock and never wait; additions and removals come at the pace of
// handshakes and are serialised.
//
// Tunnels choose indices independently of each other, at random, so two of them
// can have the same one. Both are then found, and only the right one can
// authenticate the datagram.
type indexTable struct {
	mu    sync.Mutex
	slots atomic.Pointer[indexSlots]
	// live counts slots with sessions, used those that are not nil: an entry
	// whose sessions are gone stays until the table is rebuilt, so that probing
	// past it goes on.
	live, used int
}

// indexSlots is an open hash table, linearly probed. Its length is a power of
// two, and at least half of it is nil. The indices are random: they are their
// own hash.
type indexSlots []atomic.Pointer[indexEntry]

// indexEntry does not change once it is in the table.
type indexEntry struct {
	index    uint32
	sessions []*session
}

const minIndexSlots = 64

func newIndexTable() *indexTable {
	t := new(indexTable)
	slots := make(indexSlots, minIndexSlots)
	t.slots.Store(&slots)
	return t
}

// lookup returns the sessions with this index, mostly one or none.
func (t *indexTable) lookup(index uint32) []*session {
	e := t.slots.Load().find(index).Load()
	if e == nil {
		return nil
	}
	return e.sessions
}

// find returns the slot that holds the index, or the nil slot where it belongs.
func (s indexSlots) find(index uint32) *atomic.Pointer[indexEntry] {
	mask := uint32(len(s) - 1)
	for i := index & mask; ; i = (i + 1) & mask {
		if e := s[i].Load(); e == nil || e.index == index {
			return &s[i]
		}
	}
}

func (t *indexTable) add(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := *t.slots.Load()
	if 2*(t.used+1) > len(slots) {
		slots = t.rebuild(slots)
	}
	slot := slots.find(s.index)
	entry := &indexEntry{index: s.index, sessions: []*session{s}}
	switch old := slot.Load(); {
	case old == nil:
		t.used++
		t.live++
	case len(old.sessions) == 0:
		t.live++
	default:
		entry.sessions = append(entry.sessions, old.sessions...)
	}
	slot.Store(entry)
}

func (t *indexTable) remove(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.slots.Load().find(s.index)
	old := slot.Load()
	if old == nil || !slices.Contains(old.sessions, s) {
		return
	}
	entry := &indexEntry{index: s.index}
	for _, other := range old.sessions {
		if other != s {
			entry.sessions = append(entry.sessions, other)
		}
	}
	if len(entry.sessions) == 0 {
		t.live--
	}
	slot.Store(entry)
}

// rebuild makes a table without the empty entries, a quarter full at most.
// Readers of the old one see it as it was at some moment during the call.
func (t *indexTable) rebuild(old indexSlots) indexSlots {
	size := minIndexSlots
	for size < 4*(t.live+1) {
		size *= 2
	}
	slots := make(indexSlots, size)
	for i := range old {
		if e := old[i].Load(); e != nil && len(e.sessions) > 0 {
			slots.find(e.index).Store(e)
		}
	}
	t.used = t.live
	t.slots.Store(&slots)
	return slots
}
