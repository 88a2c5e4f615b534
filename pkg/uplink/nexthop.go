// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Hop is how frames to a remote must be addressed. It is never changed, only
// replaced.
type Hop struct {
	// Valid tells whether frames can be sent. If not, Why says in a few words
	// what is missing.
	Valid bool
	Why   string
	// Dst and Src are the Ethernet addresses of the next hop and of the uplink.
	Dst, Src [6]byte
	// MTU is how many bytes an outer IP packet to the remote may have.
	MTU int
	// Tags are the VLAN ids to put in front, outermost first.
	Tags []uint16
}

func (h *Hop) equal(o *Hop) bool {
	return h.Valid == o.Valid && h.Why == o.Why && h.Dst == o.Dst && h.Src == o.Src && h.MTU == o.MTU && slices.Equal(h.Tags, o.Tags)
}

// NextHop is an interest in the way to one remote, from Uplink.NextHop to
// Release.
type NextHop struct {
	*entry
	released atomic.Bool
}

// entry is shared by all that send to one remote. The uplink's mu guards it,
// but for the atomics.
type entry struct {
	uplink *Uplink
	remote netip.Addr
	refs   int

	via      *neighbour // nil: no route
	noRoute  string     // why via is nil
	routeMTU int        // of the route, 0: the link's
	changed  chan struct{}

	hop       atomic.Pointer[Hop]
	suspected atomic.Bool
}

// NextHop finds the way to a remote and keeps it fresh until Release. It does
// not wait: the Hop may become valid later, see Wait. Errors are about remotes
// that no way can lead to.
func (u *Uplink) NextHop(remote netip.Addr) (*NextHop, error) {
	switch {
	case !remote.IsGlobalUnicast() || remote.Is4In6():
		return nil, fmt.Errorf("next hop to %s: not a global unicast address", remote)
	case remote.Is6() != u.addr.Is6():
		return nil, fmt.Errorf("next hop to %s: the tunnel address %s is of another family; both nodes must use the same", remote, u.addr)
	case remote == u.addr:
		return nil, fmt.Errorf("next hop to %s: it is our own tunnel address", remote)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, fmt.Errorf("next hop to %s: %w", remote, ErrClosed)
	}
	e := u.hops[remote]
	if e == nil {
		e = &entry{uplink: u, remote: remote, changed: make(chan struct{})}
		e.hop.Store(&Hop{})
		u.hops[remote] = e
		u.resolve(e)
		u.poke()
	}
	e.refs++
	return &NextHop{entry: e}, nil
}

// Load returns what is known now; never nil. It takes no lock.
func (n *NextHop) Load() *Hop { return n.hop.Load() }

// Remote is the address that the hop leads to.
func (n *NextHop) Remote() netip.Addr { return n.remote }

// Suspect reports that frames of this remote come in from src. If that is not
// where we send to, the next hop is asked for its address, soon but not too
// often. For the packet path: it never blocks and allocates nothing.
func (n *NextHop) Suspect(src [6]byte) {
	if h := n.hop.Load(); !h.Valid || h.Dst == src {
		return
	}
	if n.suspected.CompareAndSwap(false, true) {
		n.uplink.poke()
	}
}

// Wait returns when the hop is valid. If ctx ends before, the error says why
// it is not.
func (n *NextHop) Wait(ctx context.Context) error {
	for {
		n.uplink.mu.Lock()
		changed := n.changed
		n.uplink.mu.Unlock()
		h := n.Load()
		if h.Valid {
			return nil
		}
		select {
		case <-changed:
		case <-n.uplink.stop:
			return fmt.Errorf("next hop to %s: %w", n.remote, ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("next hop to %s: %s: %w", n.remote, h.Why, ctx.Err())
		}
	}
}

// Release ends the interest. A second call does nothing.
func (n *NextHop) Release() {
	if n.released.Swap(true) {
		return
	}
	u := n.uplink
	u.mu.Lock()
	defer u.mu.Unlock()
	if n.refs--; n.refs > 0 {
		return
	}
	u.leave(n.entry)
	delete(u.hops, n.remote)
}

// publish puts together what is known of an entry. The caller holds mu.
func (u *Uplink) publish(e *entry) {
	link := u.link.Load()
	h := &Hop{Src: link.mac, MTU: link.mtu, Tags: u.tags}
	if e.routeMTU > 0 && e.routeMTU < h.MTU {
		h.MTU = e.routeMTU
	}
	switch {
	case !link.up:
		h.Why = "uplink " + u.LinkName() + " is down"
	case e.via == nil:
		h.Why = e.noRoute
	case !e.via.usable():
		h.Why = fmt.Sprintf("neighbour %s does not answer on %s", e.via.addr, u.LinkName())
	default:
		h.Valid, h.Dst = true, e.via.mac
	}
	old := e.hop.Load()
	if old.equal(h) {
		return
	}
	e.hop.Store(h)
	close(e.changed)
	e.changed = make(chan struct{})
	switch {
	case h.Valid && (!old.Valid || old.Dst != h.Dst):
		u.log("next hop to %s is %s, %s", e.remote, e.via.addr, e.via.hardware())
	case !h.Valid && old.Why != h.Why:
		u.log("no next hop to %s: %s", e.remote, h.Why)
	}
}

// HopStatus is what an operator may want to know of one next hop.
type HopStatus struct {
	Remote netip.Addr `json:"remote"`
	// Via is the neighbour that frames go to; invalid without a route.
	Via          netip.Addr `json:"via,omitzero"`
	HardwareAddr string     `json:"hardwareAddr,omitempty"`
	Valid        bool       `json:"valid"`
	Why          string     `json:"why,omitempty"`
	MTU          int        `json:"mtu"`
	// State of the neighbour as ip-neighbour(8) calls it.
	State string `json:"state,omitempty"`
	// Confirmed is when the neighbour was last known to answer.
	Confirmed time.Time `json:"confirmed,omitzero"`
	Users     int       `json:"users"`
}

// Hops lists the next hops in use, ordered by remote.
func (u *Uplink) Hops() []HopStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := make([]HopStatus, 0, len(u.hops))
	for _, e := range u.hops {
		h := e.hop.Load()
		s := HopStatus{Remote: e.remote, Valid: h.Valid, Why: h.Why, MTU: h.MTU, Users: e.refs}
		if n := e.via; n != nil {
			s.Via, s.State, s.Confirmed = n.addr, stateName(n.state), n.confirmed
			if n.usable() {
				s.HardwareAddr = n.hardware()
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b HopStatus) int { return a.Remote.Compare(b.Remote) })
	return out
}

func stateName(state int) string {
	names := []struct {
		bit  int
		name string
	}{
		{unix.NUD_INCOMPLETE, "INCOMPLETE"}, {unix.NUD_REACHABLE, "REACHABLE"}, {unix.NUD_STALE, "STALE"},
		{unix.NUD_DELAY, "DELAY"}, {unix.NUD_PROBE, "PROBE"}, {unix.NUD_FAILED, "FAILED"},
		{unix.NUD_NOARP, "NOARP"}, {unix.NUD_PERMANENT, "PERMANENT"},
	}
	var set []string
	for _, n := range names {
		if state&n.bit != 0 {
			set = append(set, n.name)
		}
	}
	if len(set) == 0 {
		return "NONE"
	}
	return strings.Join(set, "|")
}
