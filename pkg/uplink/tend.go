// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// defaultTick is how often the neighbours in use are looked at. The others
	// are in ticks.
	defaultTick = time.Second
	// confirmAfter is how long a neighbour may not have been heard of before it
	// is asked. It bounds, with answerWithin, for how long we send to a
	// neighbour that has changed its address in silence.
	confirmAfter = 5
	// answerWithin is when a neighbour that was asked directly is asked for by
	// broadcast: its address may no longer be what we think.
	answerWithin = 1
	// maxPause bounds how rarely one that does not answer is asked.
	maxPause = 8

	// settle gathers the notifications of one change of routes.
	settle = 10 * time.Millisecond
)

// inquiry is what has been done to hear from a neighbour.
type inquiry struct {
	direct time.Time // of the unanswered question to its last address
	next   time.Time // not to be asked by broadcast before
	times  int       // broadcasts without an answer
}

// again notes a broadcast and doubles the pause to the next one.
func (q *inquiry) again(now time.Time, tick time.Duration) {
	q.next = now.Add(tick * time.Duration(min(1<<min(q.times, 10), maxPause)))
	q.times++
}

func (u *Uplink) tend() {
	timer := time.NewTimer(u.tick)
	defer timer.Stop()
	for {
		select {
		case <-u.stop:
			return
		case <-u.wake:
		case <-timer.C:
		}
		if u.stale.Load() {
			select {
			case <-u.stop:
				return
			case <-time.After(settle):
			}
		}
		if u.round(time.Now()) {
			timer.Reset(u.tick)
		} else {
			timer.Stop()
		}
	}
}

// round brings everything up to date and asks whom there is to ask. It returns
// false when there is nothing to look after.
func (u *Uplink) round(now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	if u.stale.Swap(false) {
		u.readLink()
		for _, e := range u.hops {
			u.resolve(e)
		}
	}
	if len(u.neighbours) == 0 || !u.link.Load().up {
		return false // a notification will wake us
	}
	families := map[int]bool{}
	for _, n := range u.neighbours {
		families[familyOf(n.addr)] = true
	}
	for family := range families {
		u.readNeighbours(family)
	}
	for _, n := range u.neighbours {
		u.inquire(n, now)
	}
	return true
}

// readLink is for notifications that got lost.
func (u *Uplink) readLink() {
	link, err := u.requests.LinkByIndex(u.place.link.Attrs().Index)
	state := &linkState{}
	if err == nil {
		state = stateOf(link)
	} else {
		*state = *u.link.Load()
		state.up = false
	}
	u.setLink(state)
}

// inquire decides whether a neighbour has to be asked. The kernel is told to
// resolve one that it does not know. One that it knows is asked by our own
// solicitation, whose answer the kernel takes in like any other: its entry
// stays usable meanwhile, for us and for the node's own traffic.
func (u *Uplink) inquire(n *neighbour, now time.Time) {
	suspected := false
	for e := range n.users {
		suspected = suspected || e.suspected.Load()
	}
	q := &n.inquiry
	switch {
	case n.fixed():
		n.trust()
	case !n.known():
		if n.state&unix.NUD_INCOMPLETE == 0 && !now.Before(q.next) {
			u.ask(n)
		}
	case suspected:
		// Not so if frames come from another address by design, as those of a
		// pair of routers (VRRP) do: then the pauses grow.
		if !now.Before(q.next) {
			n.trust()
			u.solicit(n, true)
			q.again(now, u.tick)
		}
	case now.Sub(n.confirmed) < confirmAfter*u.tick:
		if now.Sub(q.next) > maxPause*u.tick {
			*q = inquiry{}
		}
		q.direct = time.Time{}
	case q.direct.IsZero():
		q.direct = now
		u.solicit(n, false)
	case now.Sub(q.direct) >= answerWithin*u.tick && !now.Before(q.next):
		u.solicit(n, true)
		q.again(now, u.tick)
	}
}

// trust forgets suspicions.
func (n *neighbour) trust() {
	for e := range n.users {
		e.suspected.Store(false)
	}
}

// ask has the kernel resolve a neighbour, as if it had a packet for it.
func (u *Uplink) ask(n *neighbour) {
	err := u.requests.NeighSet(&netlink.Neigh{
		LinkIndex: u.place.link.Attrs().Index,
		IP:        n.addr.AsSlice(),
		State:     unix.NUD_NONE,
		Flags:     netlink.NTF_USE,
	})
	if err != nil && u.link.Load().up {
		u.log("resolve neighbour %s on %s: %v", n.addr, u.LinkName(), err)
	}
	n.inquiry.again(time.Now(), u.tick)
}
