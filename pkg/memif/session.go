// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"crypto/subtle"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// session is a master's side of a handshake, without the socket: messages go in,
// answers come out, and at the end there is a connection. It begins after HELLO.
type session struct {
	// claim finds the interface that a slave asks for, and keeps it for the
	// session.
	claim func(initiation) (*Interface, error)

	iface    *Interface
	conn     *Conn
	peerName string
	mapped   uint64
	rings    [2][]sharedRing // to the slave, to the master: as the flag of ADD_RING
}

// sharedRing is a ring that a slave has announced.
type sharedRing struct {
	ring   ring
	cookie *uint32
	bell   *doorbell
}

// handle takes a message with its file descriptors, which are its own to close,
// and returns the answer. After CONNECTED the connection stands.
func (s *session) handle(m *message, fds []int) (answer *message, err error) {
	if len(fds) != m.kind().fds() {
		closeAll(fds)
		return nil, violation("%v with %d file descriptors", m.kind(), len(fds))
	}
	kind := m.kind()
	switch {
	case kind == msgInit && s.iface == nil:
		err = s.begin(m.initiation())
	case kind == msgAddRegion && s.iface != nil:
		err = s.addRegion(m.addRegion(), fds[0])
	case kind == msgAddRing && s.iface != nil:
		err = s.addRing(m.addRing(), fds[0])
	case kind == msgConnect && s.iface != nil:
		if err := s.connect(m.interfaceName()); err != nil {
			return nil, err
		}
		return connectMessage(msgConnected, s.iface.cfg.Name), nil
	case kind == msgDisconnect:
		return nil, &DisconnectError{Reason: m.reason()}
	default:
		closeAll(fds)
		return nil, violation("unexpected %v", kind)
	}
	return newMessage(msgAck), err
}

func (s *session) begin(i initiation) error {
	if i.version != version {
		return refusal("version %#x is not supported", i.version)
	}
	iface, err := s.claim(i)
	if err != nil {
		return err
	}
	s.iface, s.peerName = iface, i.name
	s.conn = newConn(iface, true)
	return nil
}

// check tells whether a slave may have the interface.
func (i *Interface) check(with initiation) error {
	want := i.cfg.secret()
	switch {
	case i.cfg.Secret != "" && subtle.ConstantTimeCompare(want[:], with.secret[:]) != 1:
		return refusal("incorrect secret")
	case with.mode != i.cfg.Mode:
		return refusal("mode is %v here and %v there", i.cfg.Mode, with.mode)
	}
	return nil
}

func (s *session) addRegion(a addRegion, fd int) error {
	defer unix.Close(fd)
	if int(a.index) != len(s.conn.regions) || len(s.conn.regions) == maxRegions {
		return violation("region %d where %d is next", a.index, len(s.conn.regions))
	}
	if a.size > maxMapped-s.mapped {
		return violation("more than %d bytes of regions", uint64(maxMapped))
	}
	r, err := openRegion(fd, a.size, s.iface.cfg.AllowUnsealed)
	if err != nil {
		return err
	}
	s.mapped += a.size
	s.conn.regions = append(s.conn.regions, r)
	return nil
}

func (s *session) addRing(a addRing, fd int) error {
	way := a.flags & ringToMaster
	limit := s.iface.cfg.TxRings
	if way == ringToMaster {
		limit = s.iface.cfg.RxRings
	}
	var problem error
	switch {
	case int(a.index) != len(s.rings[way]):
		problem = violation("ring %d where %d is next", a.index, len(s.rings[way]))
	case int(a.index) >= limit:
		problem = violation("ring %d, at most %d are accepted", a.index, limit)
	case a.log2Size > s.iface.cfg.log2RingSize():
		problem = violation("ring of 2^%d descriptors", a.log2Size)
	case a.headerSize != 0:
		problem = violation("private headers of %d bytes", a.headerSize)
	case int(a.region) >= len(s.conn.regions):
		problem = violation("ring in region %d of %d", a.region, len(s.conn.regions))
	case a.offset%8 != 0:
		problem = violation("ring at offset %d is not aligned", a.offset)
	}
	var mem []byte
	if problem == nil {
		mem = s.conn.regions[a.region].slice(a.offset, uint32(ringBytes(1<<a.log2Size)))
		if mem == nil {
			problem = violation("ring at %d beyond the end of its region", a.offset)
		}
	}
	if problem != nil {
		unix.Close(fd)
		return problem
	}
	bell, err := openDoorbell(fd, s.conn.fail)
	if err != nil {
		return err
	}
	s.rings[way] = append(s.rings[way], sharedRing{openRing(mem, 1<<a.log2Size), cookieOf(mem), bell})
	return nil
}

// connect makes queues of the rings.
func (s *session) connect(peerInterface string) (err error) {
	c := s.conn
	toSlave, toMaster := s.rings[0], s.rings[ringToMaster]
	if len(toSlave) == 0 || len(toMaster) == 0 {
		return violation("%d rings to the master and %d to the slave", len(toMaster), len(toSlave))
	}
	n := 1
	func() {
		defer c.survive(debug.SetPanicOnFault(true), &n)
		for _, rings := range s.rings {
			for i := range rings {
				if atomic.LoadUint32(rings[i].cookie) != ringCookie {
					err = violation("ring without cookie")
				}
			}
		}
		for i := range toMaster {
			toMaster[i].ring.setPolled(true)
		}
	}()
	if n == 0 {
		return violation("shared memory was taken away")
	}
	if err != nil {
		return err
	}
	for i, r := range toMaster {
		c.rx = append(c.rx, &RxQueue{conn: c, ring: r.ring, bell: r.bell, count: &s.iface.rx[i]})
	}
	for i, r := range toSlave {
		c.tx = append(c.tx, &TxQueue{conn: c, ring: r.ring, bell: r.bell, count: &s.iface.tx[i], posted: make([]desc, r.ring.size())})
	}
	s.rings = [2][]sharedRing{}
	c.peer = Peer{Name: s.peerName, Interface: peerInterface}
	return nil
}

// abandon frees what a handshake that failed has made.
func (s *session) abandon() {
	for _, rings := range s.rings {
		for i := range rings {
			rings[i].bell.close()
		}
	}
	if s.conn != nil {
		s.conn.free()
	}
}
