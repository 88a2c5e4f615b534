// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Slave makes an interface whose Connect dials a master at an address.
func Slave(a Address, cfg Config) (*Interface, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	i := newInterface(cfg)
	i.address = a
	return i, nil
}

// Times between a slave's attempts.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// dial tries until it has a connection.
func (i *Interface) dial(ctx context.Context) (*Conn, error) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		c, err := i.attempt(ctx)
		if err == nil {
			return c, nil
		}
		if ctx.Err() == nil {
			i.note(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, i.gaveUp(ctx)
		}
	}
}

// attempt dials once and does the handshake.
func (i *Interface) attempt(ctx context.Context) (c *Conn, err error) {
	sock, err := i.address.dial()
	if err != nil {
		return nil, err
	}
	_ = sock.SetDeadline(time.Now().Add(handshakeTime))
	unhook := context.AfterFunc(ctx, func() { _ = sock.SetDeadline(time.Unix(1, 0)) })
	c = newConn(i, false)
	c.sock = sock
	err = c.greet()
	if !unhook() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		var said *DisconnectError
		if !errors.As(err, &said) {
			tell(sock, reasonFor(err))
		}
		sock.Close()
		c.free()
		return nil, err
	}
	_ = sock.SetDeadline(time.Time{})
	for _, q := range c.rx {
		// Not earlier: masters reset the rings when they are told of them.
		q.post(0, q.ring.size())
	}
	return c, nil
}

func (a Address) dial() (*net.UnixConn, error) {
	var sock *net.UnixConn
	err := a.in(func() (err error) {
		sock, err = net.DialUnix("unixpacket", nil, a.unix())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("memif: %w", err)
	}
	return sock, nil
}

// greet is the slave's side of the handshake: every message but the last is
// acknowledged before the next.
func (c *Conn) greet() error {
	m, err := c.expect(msgHello)
	if err != nil {
		return err
	}
	h := m.hello()
	if h.minVersion > version || h.maxVersion < version {
		return refusal("versions %#x to %#x are not supported", h.minVersion, h.maxVersion)
	}
	c.peer.Name = h.name
	cfg := c.iface.cfg
	cfg.TxRings = min(cfg.TxRings, int(h.maxToMaster)+1)
	cfg.RxRings = min(cfg.RxRings, int(h.maxToSlave)+1)
	cfg.RingSize = min(cfg.RingSize, 1<<min(h.maxLog2RingSize, maxLog2RingSize))
	if cfg.RingSize < 2 {
		return refusal("rings of one descriptor")
	}
	fd, rings, err := c.provide(cfg)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	say := func(m *message, fd int) error {
		if err := send(c.sock, m, fd); err != nil {
			return err
		}
		_, err := c.expect(msgAck)
		return err
	}
	init := initiation{version: version, id: cfg.ID, mode: cfg.Mode, secret: cfg.secret(), name: programName}
	if err := say(init.message(), -1); err != nil {
		return err
	}
	if err := say(addRegion{size: uint64(len(c.regions[0].mem))}.message(), fd); err != nil {
		return err
	}
	for n, r := range rings {
		var bell int
		if n < len(c.tx) {
			bell = c.tx[n].bell.fd
		} else {
			bell = c.rx[n-len(c.tx)].bell.fd
		}
		if err := say(r.message(), bell); err != nil {
			return err
		}
	}
	if err := send(c.sock, connectMessage(msgConnect, cfg.Name), -1); err != nil {
		return err
	}
	if m, err = c.expect(msgConnected); err != nil {
		return err
	}
	c.peer.Interface = m.interfaceName()
	return nil
}

// expect reads the next message, which must be of a type.
func (c *Conn) expect(t messageType) (*message, error) {
	m, fds, err := receive(c.sock)
	closeAll(fds)
	switch {
	case err != nil:
		return nil, err
	case m.kind() == msgDisconnect:
		return nil, &DisconnectError{Reason: m.reason()}
	case m.kind() != t:
		return nil, violation("%v instead of %v", m.kind(), t)
	}
	return m, nil
}

// provide makes memory, rings and queues, and lists the rings, S2M first.
func (c *Conn) provide(cfg Config) (fd int, rings []addRing, err error) {
	p := layout(cfg.TxRings+cfg.RxRings, cfg.RingSize, cfg.BufferSize)
	fd, memory, err := makeRegion(p.total)
	if err != nil {
		return -1, nil, err
	}
	c.regions = []region{memory}
	for n := range cfg.TxRings + cfg.RxRings {
		at, buffers := uint64(n)*p.ringStride, p.buffers+uint64(n)*p.bufferStride
		atomic.StoreUint32(cookieOf(memory.mem[at:]), ringCookie)
		r := openRing(memory.mem[at:], p.ringSize)
		event, err := makeEventfd()
		if err != nil {
			unix.Close(fd)
			return -1, nil, err
		}
		bell, err := openDoorbell(event, c.fail)
		if err != nil {
			unix.Close(fd)
			return -1, nil, err
		}
		announce := addRing{index: uint16(n), offset: uint32(at), log2Size: cfg.log2RingSize()}
		own := memory.mem[buffers : buffers+p.bufferStride : buffers+p.bufferStride]
		if n < cfg.TxRings {
			announce.flags = ringToMaster
			c.tx = append(c.tx, &TxQueue{conn: c, ring: r, bell: bell, count: &c.iface.tx[n],
				buffers: own, bufferSize: p.bufferSize, base: uint32(buffers)})
		} else {
			announce.index -= uint16(cfg.TxRings)
			r.setPolled(true)
			c.rx = append(c.rx, &RxQueue{conn: c, ring: r, bell: bell, count: &c.iface.rx[announce.index],
				buffers: own, bufferSize: p.bufferSize, base: uint32(buffers)})
		}
		rings = append(rings, announce)
	}
	return fd, rings, nil
}
