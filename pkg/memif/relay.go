// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// maxPairs is how many pairs a Relay has at a time. A master takes one slave for
// each of its interfaces.
const maxPairs = 16

// Relay lets slaves in one place meet a master in another: in another network
// namespace, for one. It passes the messages of the control socket on, with the
// descriptors of memory and eventfds. Packets do not pass it: the two peers share
// memory.
//
// A message that the protocol does not know in its direction ends the connections
// of both peers, and so does a handshake that takes more than 5 s, and either
// peer's going. Peers may come again as often as they like.
type Relay struct {
	sock   *net.UnixListener
	to     Address
	parted func(error)
	within time.Duration // a handshake must be done
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewRelay makes a control socket at an address, where slaves connect, and leads
// them to the master at another. The master's socket may appear later. parted, if
// not nil, is told of each pair that has parted, or did not meet, and why; it may
// be called by several goroutines at once.
func NewRelay(at, to Address, parted func(error)) (*Relay, error) {
	return newRelay(at, to, parted, handshakeTime)
}

func newRelay(at, to Address, parted func(error), within time.Duration) (*Relay, error) {
	sock, err := listenAt(at)
	if err != nil {
		return nil, err
	}
	if parted == nil {
		parted = func(error) {}
	}
	r := &Relay{sock: sock, to: to, parted: parted, within: within}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Go(func() { acceptAll(r.ctx, sock, maxPairs, r.serve) })
	return r, nil
}

// Close ends all connections and frees the sockets. The peers, which have each
// other's memory, notice that their control sockets are closed.
func (r *Relay) Close() error {
	r.cancel()
	r.sock.Close()
	r.wg.Wait()
	return nil
}

// serve is the life of a pair.
func (r *Relay) serve(slave *net.UnixConn) {
	defer slave.Close()
	p := pair{slave: slave, deadline: time.Now().Add(r.within)}
	if err := p.meet(r.ctx, r.to); err != nil {
		tell(slave, "the master cannot be reached")
		r.parted(err)
		return
	}
	defer p.master.Close()
	defer context.AfterFunc(r.ctx, func() { p.part(ErrClosed) })()
	var wg sync.WaitGroup
	wg.Go(func() { p.part(p.pass(p.slave, p.master, fromSlave)) })
	wg.Go(func() { p.part(p.pass(p.master, p.slave, fromMaster)) })
	wg.Wait()
	r.parted(p.why)
}

// pair is a slave and a master.
type pair struct {
	slave, master *net.UnixConn
	deadline      time.Time // of the handshake

	once sync.Once
	why  error
}

// meet connects to the master, which may need some time to listen.
func (p *pair) meet(ctx context.Context, to Address) error {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		sock, err := to.dial()
		if err == nil {
			p.master = sock
			_ = p.master.SetDeadline(p.deadline)
			_ = p.slave.SetDeadline(p.deadline)
			return nil
		}
		if time.Now().Add(pause).After(p.deadline) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ErrClosed
		}
	}
}

// part ends both connections, once.
func (p *pair) part(why error) {
	p.once.Do(func() {
		p.why = why
		var said *DisconnectError
		for _, sock := range []*net.UnixConn{p.slave, p.master} {
			if !errors.Is(why, ErrPeerGone) && !errors.As(why, &said) {
				tell(sock, reasonFor(why))
			}
			sock.Close()
		}
	})
}

// What each side may say.
var (
	fromSlave  = []messageType{msgInit, msgAddRegion, msgAddRing, msgConnect, msgDisconnect, msgAck}
	fromMaster = []messageType{msgHello, msgAck, msgConnected, msgDisconnect}
)

// pass copies messages from one peer to the other until there is an error.
func (p *pair) pass(from, to *net.UnixConn, known []messageType) error {
	for {
		m, fds, err := receive(from)
		if err == nil {
			err = p.copy(to, m, fds, known)
		}
		closeAll(fds)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return refusal("handshake not finished in time")
		}
		if err != nil {
			return err
		}
	}
}

// copy passes one message on; receive has found it whole, with the descriptors
// that belong to it.
func (p *pair) copy(to *net.UnixConn, m *message, fds []int, known []messageType) error {
	if !slices.Contains(known, m.kind()) {
		return violation("unexpected %v", m.kind())
	}
	fd := -1
	if len(fds) > 0 {
		fd = fds[0]
	}
	_ = to.SetWriteDeadline(time.Now().Add(handshakeTime))
	if err := send(to, m, fd); err != nil {
		return err
	}
	switch m.kind() {
	case msgConnected:
		// From here on the two may be silent as long as they like.
		_ = p.slave.SetReadDeadline(time.Time{})
		_ = p.master.SetReadDeadline(time.Time{})
	case msgDisconnect:
		return &DisconnectError{Reason: m.reason()}
	}
	return nil
}
