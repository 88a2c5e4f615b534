// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"bytes"
	"sync"
	"time"
)

// Two handshakes that cross each other fail both: a device that answers an
// initiation forgets its own, so either side ignores the other's response, and
// five seconds pass until one tries again. It is not rare, as interfaces on both
// ends come up at the same time and send something at once.
//
// So an initiation that came less than crossingWindow (a round trip, generously)
// after we sent our own, or a copy of it, is held back. The peer may not have been
// up for ours: it is sent once more. A peer that holds nothing back answers it
// meanwhile, and theirs is dropped. If both hold, the one with the lesser public
// key gives in first and answers.
//
// The other way round, Handshake sends no initiation while one is held back, or
// while the device is about to answer one; that takes it less than answerTime.
//
// Best is not to cross at all. Where it is agreed who begins
// (Config.PeerBegins), the first initiation of the other end waits for that of
// its peer, for as long as courtesyTime.
const (
	crossingWindow = 20 * time.Millisecond
	answerTime     = 50 * time.Millisecond
	courtesyTime   = 250 * time.Millisecond
	// In windows: how long an initiation is held back.
	holdLesser  = 1
	holdGreater = 3
)

// crossing keeps initiations of both directions apart. Its lock is held while
// one is handed to the device, and while Handshake lets the device make one.
type crossing struct {
	sync.Mutex
	// asked is when the device was given the last initiation.
	asked time.Time
	// held fires when the initiation that waits is due, nil if none waits.
	held   *time.Timer
	closed bool
}

// admit gives the device an initiation of the peer, or holds it back.
func (t *Tunnel) admit(k knocking) {
	if t.holdBack(k) {
		t.transmitAgain()
	}
}

// holdBack tells whether it has held the initiation back.
func (t *Tunnel) holdBack(k knocking) bool {
	c := &t.crossing
	c.Lock()
	defer c.Unlock()
	sent, answered := t.lastInitiation()
	switch {
	case c.closed || c.held != nil: // a copy does not end the wait
		t.hub.counters.add(DropCrossing, 1)
	case k.at.Sub(sent) > t.hub.crossingWindow:
		t.ask(k)
	case answered:
		t.hub.counters.add(DropCrossing, 1)
	default:
		wait := holdGreater * t.hub.crossingWindow
		if bytes.Compare(t.public[:], t.config.PeerKey[:]) < 0 {
			wait = holdLesser * t.hub.crossingWindow
		}
		c.held = time.AfterFunc(wait, func() { t.release(k) })
		return true
	}
	return false
}

// release gives in to an initiation that was held back, unless ours was
// answered.
func (t *Tunnel) release(k knocking) {
	c := &t.crossing
	c.Lock()
	defer c.Unlock()
	c.held = nil
	if _, answered := t.lastInitiation(); answered || c.closed {
		t.hub.counters.add(DropCrossing, 1)
		return
	}
	t.ask(k)
}

func (t *Tunnel) ask(k knocking) {
	t.courtesy.end()
	t.crossing.asked = time.Now()
	t.hub.deliver(t, k.remote, k.local, [][]byte{k.message[:]})
}

// answers tells whether the device is busy with an initiation of the peer, or is
// about to be. The lock is held.
func (c *crossing) answers() bool { return c.held != nil || time.Since(c.asked) < answerTime }

// initiate makes an initiation, unless the device is busy with one of the peer.
func (t *Tunnel) initiate() (bool, error) {
	c := &t.crossing
	c.Lock()
	defer c.Unlock()
	if c.closed {
		return false, ErrClosed
	}
	if c.answers() {
		return false, nil
	}
	return true, t.peer.SendHandshakeInitiation(false)
}

// endCrossing drops what is held back, and the peer. wireguard-go frees a peer's
// queues by finalizers that refer to the device: as long as the device leads to
// the peer, by way of its Bind and this tunnel, none of them is ever collected.
func (t *Tunnel) endCrossing() {
	t.courtesy.end()
	c := &t.crossing
	c.Lock()
	defer c.Unlock()
	c.closed = true
	t.peer = nil
	if c.held != nil {
		c.held.Stop()
	}
}

// courtesy keeps the first initiation of a tunnel whose peer begins.
type courtesy struct {
	sync.Mutex
	over bool
	kept *time.Timer
}

// end drops what is kept, and keeps no more: the peer has begun, or the tunnel
// ends.
func (c *courtesy) end() {
	c.Lock()
	defer c.Unlock()
	c.over = true
	if c.kept != nil {
		c.kept.Stop()
	}
}

// keep tells that an initiation is not to be sent, or not yet. It is called from
// inside the device.
func (t *Tunnel) keep(to *endpoint, message []byte) bool {
	c := &t.courtesy
	c.Lock()
	defer c.Unlock()
	if !t.config.PeerBegins || c.over {
		return false
	}
	if c.kept == nil {
		message = bytes.Clone(message)
		c.kept = time.AfterFunc(courtesyTime, func() { t.begin(to, message) })
	}
	return true
}

// begin sends the initiation that was kept, since the peer has not begun.
func (t *Tunnel) begin(to *endpoint, message []byte) {
	c := &t.courtesy
	c.Lock()
	defer c.Unlock()
	if c.over {
		return
	}
	c.over = true
	t.sent(initiation, message)
	if err := t.transmit(to, [][]byte{message}); err != nil {
		t.logf("initiate: %v", err)
	}
}
