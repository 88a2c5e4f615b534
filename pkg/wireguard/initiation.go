// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// An initiation is checked against the tunnels one after the other; each check
// costs two to three BLAKE2s blocks, a third of a microsecond. Tunnels that have
// waited longest are tried first: whether connections are being set up or renew
// their keys every two minutes, the right one is near the front.
//
// What a flood can cost is bounded: checks are rationed for each address that
// is some tunnel's remote, and for all other addresses together, so that strangers
// can slow down only peers that roam.
const (
	knownChecksPerSecond    = 50_000
	knownChecksBurst        = 1_000_000
	strangerChecksPerSecond = 20_000
	strangerChecksBurst     = 100_000
	// doorQueue is how many initiations wait to be checked.
	doorQueue = 2048
)

// door is where initiations wait. A goroutine checks them, which lives while
// there are any, so the packet path does not.
type door struct {
	mu      sync.Mutex
	queue   []knocking // a ring, of doorQueue once it was needed
	head, n int
	running bool
	closed  bool
	done    sync.WaitGroup
}

type knocking struct {
	at            time.Time
	remote, local netip.AddrPort
	message       [initiationSize]byte
}

// knock queues an initiation.
func (h *Hub) knock(remote, local netip.AddrPort, message []byte) {
	d := &h.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		h.counters.add(DropClosed, 1)
		return
	}
	if d.n == doorQueue {
		h.counters.add(DropFlood, 1)
		return
	}
	if d.queue == nil {
		d.queue = make([]knocking, doorQueue)
	}
	k := &d.queue[(d.head+d.n)%doorQueue]
	k.at, k.remote, k.local = time.Now(), remote, local
	copy(k.message[:], message)
	d.n++
	if !d.running {
		d.running = true
		d.done.Add(1)
		go h.answer()
	}
}

// answer checks initiations until there are none.
func (h *Hub) answer() {
	defer h.door.done.Done()
	for {
		k, ok := h.door.next()
		if !ok {
			return
		}
		h.mu.Lock()
		t, reason := h.rosters.find(k.remote.Addr(), k.message[:])
		h.mu.Unlock()
		if t == nil {
			h.counters.add(reason, 1)
			continue
		}
		t.admit(k)
	}
}

func (d *door) next() (knocking, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == 0 {
		d.running = false
		return knocking{}, false
	}
	k := d.queue[d.head]
	d.head = (d.head + 1) % doorQueue
	d.n--
	return k, true
}

// wait returns when all initiations so far are answered.
func (d *door) wait() { d.done.Wait() }

// close lets no more initiations in.
func (d *door) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.wait()
}

// rosters are the tunnels that an initiation may be for.
type rosters struct {
	now func() time.Time
	// all of them, for initiations from an address that no tunnel has.
	all *roster
	// by the address that the tunnel last sent to.
	at map[netip.Addr]*roster
	// keys are our public keys, no two tunnels have the same.
	keys map[Key]*Tunnel
}

// roster is a list of tunnels, the one that was found last at the end.
type roster struct {
	list []*Tunnel
	// checks that may be made now, as of checked.
	checks  float64
	checked time.Time
	rate    float64
	burst   float64
}

func newRosters(now func() time.Time) rosters {
	return rosters{
		now:  now,
		all:  newRoster(strangerChecksPerSecond, strangerChecksBurst, now()),
		at:   make(map[netip.Addr]*roster),
		keys: make(map[Key]*Tunnel),
	}
}

func newRoster(rate, burst float64, now time.Time) *roster {
	return &roster{checks: burst, checked: now, rate: rate, burst: burst}
}

func (r *roster) tunnels() []*Tunnel { return slices.Clone(r.list) }

func (r *rosters) add(t *Tunnel, addr netip.Addr) {
	r.keys[t.public] = t
	r.all.list = slices.Insert(r.all.list, 0, t)
	r.addAt(t, addr)
}

func (r *rosters) addAt(t *Tunnel, addr netip.Addr) {
	t.rosterAddr = addr.Unmap()
	at := r.at[t.rosterAddr]
	if at == nil {
		at = newRoster(knownChecksPerSecond, knownChecksBurst, r.now())
		r.at[t.rosterAddr] = at
	}
	at.list = slices.Insert(at.list, 0, t)
}

func (r *rosters) remove(t *Tunnel) {
	delete(r.keys, t.public)
	r.all.remove(t)
	r.removeAt(t)
}

func (r *rosters) removeAt(t *Tunnel) {
	at := r.at[t.rosterAddr]
	at.remove(t)
	if len(at.list) == 0 {
		delete(r.at, t.rosterAddr)
	}
}

func (r *roster) remove(t *Tunnel) {
	if i := slices.Index(r.list, t); i >= 0 {
		r.list = slices.Delete(r.list, i, i+1)
	}
}

// moved tells that a tunnel sends to another address from here on: its peer has
// roamed, and will initiate from there.
func (h *Hub) moved(t *Tunnel, addr netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rosters.keys[t.public] == t && t.rosterAddr != addr.Unmap() {
		h.rosters.removeAt(t)
		h.rosters.addAt(t, addr)
	}
}

// find returns the tunnel whose public key an initiation is made for.
func (r *rosters) find(from netip.Addr, message []byte) (*Tunnel, Reason) {
	now := r.now()
	if at := r.at[from.Unmap()]; at != nil {
		if t, reason := at.find(message, now); t != nil || reason == DropFlood {
			return t, reason
		}
	}
	return r.all.find(message, now)
}

func (r *roster) find(message []byte, now time.Time) (*Tunnel, Reason) {
	r.checks = min(r.burst, r.checks+r.rate*now.Sub(r.checked).Seconds())
	r.checked = now
	for i, t := range r.list {
		if r.checks < 1 {
			return nil, DropFlood
		}
		r.checks--
		if t.mac1.matches(message) {
			copy(r.list[i:], r.list[i+1:])
			r.list[len(r.list)-1] = t
			return t, noDrop
		}
	}
	return nil, DropUnknownKey
}
