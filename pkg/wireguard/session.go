// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// session is one index that a tunnel's device chose in a handshake message, and
// by which the peer will name the session that comes of it.
type session struct {
	index  uint32
	tunnel *Tunnel
	// role is initiation or response: the message that carried the index.
	role kind
	// taken up: the peer named the index in the message that comes next, a
	// response to an initiation or transport data after a response. Only then
	// can the device have a key for it. Anybody who saw the index can send such a
	// message, so this decides how long the index is kept and nothing else.
	takenUp atomic.Bool
}

func (s *session) received(k kind) {
	if (s.role == initiation && k == response || s.role == response && k == transport) && !s.takenUp.Load() {
		s.takenUp.Store(true)
	}
}

// maxTakenUp is how many earlier sessions, that were taken up, a tunnel keeps
// besides its last initiation and its last response. A device has the keys of
// three sessions at most: previous, current and next.
const maxTakenUp = 4

// sessions are the indices by which one tunnel can be reached.
type sessions struct {
	mu sync.Mutex
	// The last of each role, and when the initiation was sent last.
	initiation, response *session
	initiated            time.Time
	// The ones before that were taken up, oldest first.
	earlier []*session
	closed  bool
	// lastInitiation is the datagram that carried initiation, empty if there
	// has been none.
	lastInitiation []byte
}

// sent learns the index of a handshake message that is about to be sent. It
// retires those that the device has forgotten by then: making a handshake
// message discards an initiation that was not answered, and making a response
// also discards the session that an earlier response offered, if the peer has
// not used it.
func (t *Tunnel) sent(k kind, message []byte) {
	s := &session{index: binary.LittleEndian.Uint32(message[senderOffset:]), tunnel: t, role: k}
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	if t.sessions.closed {
		return
	}
	t.hub.indices.add(s)
	t.retire(&t.sessions.initiation)
	if k == response {
		t.retire(&t.sessions.response)
		t.sessions.response = s
		return
	}
	t.sessions.initiation, t.sessions.initiated = s, time.Now()
	t.sessions.lastInitiation = append(t.sessions.lastInitiation[:0], message...)
}

// retire empties the place of a session. The session lives on among the earlier
// ones if it was taken up.
func (t *Tunnel) retire(place **session) {
	s := *place
	*place = nil
	if s == nil {
		return
	}
	if !s.takenUp.Load() {
		t.hub.indices.remove(s)
		return
	}
	t.sessions.earlier = append(t.sessions.earlier, s)
	if len(t.sessions.earlier) > maxTakenUp {
		t.hub.indices.remove(t.sessions.earlier[0])
		t.sessions.earlier = append(t.sessions.earlier[:0], t.sessions.earlier[1:]...)
	}
}

// forget retires all indices, for good.
func (t *Tunnel) forget() {
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	t.sessions.closed = true
	for _, s := range append(t.sessions.earlier, t.sessions.initiation, t.sessions.response) {
		if s != nil {
			t.hub.indices.remove(s)
		}
	}
	t.sessions.initiation, t.sessions.response, t.sessions.earlier = nil, nil, nil
}

// lastInitiation says when the last initiation was sent last, long ago if none
// was, and whether it has been answered.
func (t *Tunnel) lastInitiation() (sent time.Time, answered bool) {
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	s := t.sessions.initiation
	return t.sessions.initiated, s == nil || s.takenUp.Load()
}

// pendingInitiation returns a copy of the last initiation, which is about to be
// sent again, if nothing has answered it, else nil.
func (t *Tunnel) pendingInitiation() []byte {
	t.sessions.mu.Lock()
	defer t.sessions.mu.Unlock()
	if s := t.sessions.initiation; s == nil || s.takenUp.Load() {
		return nil
	}
	t.sessions.initiated = time.Now()
	return append([]byte(nil), t.sessions.lastInitiation...)
}
