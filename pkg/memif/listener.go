// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxSessions is how many peers may be in a handshake at one listener.
const maxSessions = 64

// Listener is a control socket that peers connect to. It serves the masters that
// were made by its method Interface.
type Listener struct {
	sock   *net.UnixListener
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	interfaces map[uint32]*Interface
	closed     bool
}

// Listen makes a control socket. A socket file without a listener is replaced.
func Listen(a Address) (*Listener, error) {
	sock, err := listenAt(a)
	if err != nil {
		return nil, err
	}
	return NewListener(sock), nil
}

func listenAt(a Address) (*net.UnixListener, error) {
	var sock *net.UnixListener
	err := a.in(func() (err error) {
		sock, err = net.ListenUnix("unixpacket", a.unix())
		if errors.Is(err, syscall.EADDRINUSE) && dead(a) && os.Remove(a.Socket) == nil {
			sock, err = net.ListenUnix("unixpacket", a.unix())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("memif: listen: %w", err)
	}
	return sock, nil
}

// dead tells whether there is a socket file without a listener.
func dead(a Address) bool {
	st, err := os.Lstat(a.Socket)
	if err != nil || st.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.DialUnix("unixpacket", nil, a.unix())
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// NewListener serves a socket (of type "unixpacket") that the caller has made,
// and closes it in the end.
func NewListener(sock *net.UnixListener) *Listener {
	l := &Listener{sock: sock, interfaces: map[uint32]*Interface{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l
}

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr { return l.sock.Addr() }

// Interface makes a master that peers reach by cfg.ID. An error wraps ErrInUse if
// the id is taken.
func (l *Listener) Interface(cfg Config) (*Interface, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	i := newInterface(cfg)
	i.listener = l
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case l.interfaces[cfg.ID] != nil:
		return nil, fmt.Errorf("memif: interface %d: %w", cfg.ID, ErrInUse)
	}
	l.interfaces[cfg.ID] = i
	return i, nil
}

func (l *Listener) remove(i *Interface) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.interfaces[i.cfg.ID] == i {
		delete(l.interfaces, i.cfg.ID)
	}
}

// Close ends the listener and all of its interfaces, and waits for handshakes to
// end. A socket file made by Listen is removed.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	var all []*Interface
	for _, i := range l.interfaces {
		all = append(all, i)
	}
	l.mu.Unlock()
	for _, i := range all {
		i.Close()
	}
	l.cancel()
	l.sock.Close()
	l.wg.Wait()
	return nil
}

func (l *Listener) run() { acceptAll(l.ctx, l.sock, maxSessions, l.serve) }

// acceptAll has serve take each peer that connects to a socket, as many at a time
// as there may be sessions, until ctx is done and the socket closed. It returns
// when all sessions have ended.
func acceptAll(ctx context.Context, from *net.UnixListener, sessions int, serve func(*net.UnixConn)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, sessions)
	for {
		sock, err := from.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			// Out of file descriptors, most likely; nothing to do but wait.
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			sock.Close()
			return
		}
		wg.Go(func() {
			defer func() { <-slots }()
			serve(sock)
		})
	}
}

// serve does one handshake.
func (l *Listener) serve(sock *net.UnixConn) {
	_ = sock.SetDeadline(time.Now().Add(handshakeTime))
	unhook := context.AfterFunc(l.ctx, func() { sock.Close() })
	defer unhook()

	var taken *offer
	keep := func() bool { return true }
	s := session{}
	s.claim = func(want initiation) (*Interface, error) {
		i, o, err := l.claim(want)
		if err == nil {
			taken = o
			keep = context.AfterFunc(o.ctx, func() { _ = sock.SetDeadline(time.Unix(1, 0)) })
		}
		return i, err
	}
	err := send(sock, l.hello(), -1)
	for err == nil {
		var m, answer *message
		var fds []int
		if m, fds, err = receive(sock); err != nil {
			closeAll(fds)
			break
		}
		if answer, err = s.handle(m, fds); err != nil {
			break
		}
		if answer.kind() == msgConnected {
			// From here on failures are the connection's.
			s.conn.sock = sock
			if err = send(sock, answer, -1); err != nil {
				break
			}
			if !keep() || !unhook() {
				err = ErrClosed
				break
			}
			_ = sock.SetDeadline(time.Time{})
			taken.reply <- s.conn
			return
		}
		err = send(sock, answer, -1)
	}
	if s.iface != nil {
		s.iface.note(err)
	}
	tell(sock, reasonFor(err))
	sock.Close()
	s.abandon()
	if taken != nil {
		taken.reply <- nil
	}
}

// hello allows whatever some interface may allow: which one the peer wants is
// not known yet.
func (l *Listener) hello() *message {
	h := hello{name: programName, minVersion: version, maxVersion: version, maxRegion: maxRegions - 1}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.interfaces {
		h.maxToSlave = max(h.maxToSlave, uint16(i.cfg.TxRings-1))
		h.maxToMaster = max(h.maxToMaster, uint16(i.cfg.RxRings-1))
		h.maxLog2RingSize = max(h.maxLog2RingSize, i.cfg.log2RingSize())
	}
	return h.message()
}

const programName = "nsm-afxdp"

// claim finds an interface and waits until it is ready for a peer: one whose
// old connection has just ended may not have been closed.
func (l *Listener) claim(want initiation) (*Interface, *offer, error) {
	l.mu.Lock()
	i := l.interfaces[want.id]
	l.mu.Unlock()
	if i == nil {
		return nil, nil, refusal("id %d not found", want.id)
	}
	if err := i.check(want); err != nil {
		i.note(err)
		return nil, nil, err
	}
	if i.busy() {
		return nil, nil, refusal("already connected")
	}
	wait := time.NewTimer(handshakeTime / 2)
	defer wait.Stop()
	select {
	case o := <-i.offers:
		return i, &o, nil
	case <-wait.C:
		return nil, nil, refusal("not ready")
	case <-i.over:
		return nil, nil, refusal("closed")
	case <-l.ctx.Done():
		return nil, nil, refusal("closed")
	}
}
