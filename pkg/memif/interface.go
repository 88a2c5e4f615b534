// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nsm-afxdp/forwarder/internal/netns"
)

// Address is where a control socket is.
type Address struct {
	// Socket is the path of a socket, at most 107 bytes, or '@' and the name of
	// an abstract one.
	Socket string
	// NetNS is the path of the network namespace of an abstract socket; the
	// current one if it is empty.
	NetNS string
}

func (a Address) unix() *net.UnixAddr { return &net.UnixAddr{Name: a.Socket, Net: "unixpacket"} }

// Interface is one end of a memif, a master's or a slave's. It outlives its
// peers: Connect waits for the next one. All methods are safe for concurrent
// use.
type Interface struct {
	cfg      Config
	listener *Listener // of a master
	address  Address   // of the master, for a slave

	offers chan offer // a master's Connect waits here for a session
	over   chan struct{}

	mu         sync.Mutex
	connecting bool
	conn       *Conn
	closed     bool
	stats      Statistics

	rx, tx []queueCounter
}

func newInterface(cfg Config) *Interface {
	return &Interface{
		cfg:    cfg,
		offers: make(chan offer),
		over:   make(chan struct{}),
		rx:     make([]queueCounter, cfg.RxRings),
		tx:     make([]queueCounter, cfg.TxRings),
	}
}

// Connect waits until a peer is connected. A slave dials again and again, so the
// socket may appear later, and errors of the master are not final: the last one
// is part of the error when ctx is done, and is in Statistics until then.
// The last connection must be closed first.
func (i *Interface) Connect(ctx context.Context) (*Conn, error) {
	i.mu.Lock()
	switch {
	case i.closed:
		i.mu.Unlock()
		return nil, ErrClosed
	case i.connecting || i.conn != nil:
		i.mu.Unlock()
		return nil, ErrInUse
	}
	i.connecting = true
	i.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-i.over:
			cancel(ErrClosed)
		case <-stop:
		}
	})
	var c *Conn
	var err error
	if i.listener != nil {
		c, err = i.accept(ctx)
	} else {
		c, err = i.dial(ctx)
	}
	close(stop)
	watcher.Wait()

	i.mu.Lock()
	i.connecting = false
	if err != nil {
		i.mu.Unlock()
		return nil, err
	}
	i.conn = c
	i.stats.Connections++
	i.stats.LastError = nil
	closed := i.closed
	i.mu.Unlock()
	go c.watch()
	if closed {
		c.Close()
		return nil, ErrClosed
	}
	return c, nil
}

// Close ends the interface and its connection, whose memory stays until it is
// closed itself. A master's id is free afterwards.
func (i *Interface) Close() error {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		return nil
	}
	i.closed = true
	close(i.over)
	c := i.conn
	i.mu.Unlock()
	if i.listener != nil {
		i.listener.remove(i)
	}
	if c != nil {
		c.end(ErrClosed)
	}
	return nil
}

// free is called when a connection has been closed.
func (i *Interface) free(c *Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.conn == c {
		i.conn = nil
	}
}

// busy tells whether a peer is connected.
func (i *Interface) busy() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.conn != nil && !i.conn.ended.Load()
}

// note records why a connection ended or did not come about.
func (i *Interface) note(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stats.LastError = err
	var v *ViolationError
	if errors.As(err, &v) {
		i.stats.Violations++
	}
}

// Counter is what a queue has done over all connections.
type Counter struct {
	Packets, Bytes uint64
	// Drops are packets received with more parts than the burst could take, and
	// packets to send that were empty or larger than the peer's ring.
	Drops uint64
}

// Statistics of an interface. Counters never decrease.
type Statistics struct {
	Connections uint64
	// Violations counts the connections, and attempts at one, that ended because
	// the peer broke the protocol.
	Violations uint64
	// LastError is why the last connection ended, or the last attempt failed; nil
	// while there is a connection.
	LastError error
	// Rx and Tx have an element for each ring that the configuration allows.
	Rx, Tx []Counter
}

// Statistics are the counters as they are at this moment.
func (i *Interface) Statistics() Statistics {
	i.mu.Lock()
	s := i.stats
	i.mu.Unlock()
	s.Rx, s.Tx = counters(i.rx), counters(i.tx)
	return s
}

func counters(queues []queueCounter) []Counter {
	c := make([]Counter, len(queues))
	for i := range queues {
		c[i] = Counter{queues[i].packets.Load(), queues[i].bytes.Load(), queues[i].drops.Load()}
	}
	return c
}

// handshakeTime is how long a peer may take from one end of the handshake to the other.
const handshakeTime = 5 * time.Second

// offer is a master's Connect that waits for a peer.
type offer struct {
	ctx   context.Context
	reply chan *Conn // nil if the peer did not make it
}

// accept waits for a peer at the listener.
func (i *Interface) accept(ctx context.Context) (*Conn, error) {
	for {
		o := offer{ctx, make(chan *Conn, 1)}
		select {
		case i.offers <- o:
		case <-ctx.Done():
			return nil, i.gaveUp(ctx)
		}
		// A session that has taken the offer answers, soon if ctx is done.
		if c := <-o.reply; c != nil {
			return c, nil
		}
	}
}

func (i *Interface) gaveUp(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	err := context.Cause(ctx)
	if i.stats.LastError != nil && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("memif: connect: %w (last attempt: %w)", err, i.stats.LastError)
	}
	return fmt.Errorf("memif: connect: %w", err)
}

// in runs f in the address's namespace. Only abstract sockets belong to one.
func (a Address) in(f func() error) error {
	if a.NetNS == "" || a.Socket == "" || a.Socket[0] != '@' {
		return f()
	}
	return netns.Do(a.NetNS, f)
}
