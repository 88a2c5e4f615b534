// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a connection with one peer. Done, Err, Peer and the lists of queues may
// be used by anyone, each queue by its owner.
type Conn struct {
	iface  *Interface
	master bool
	sock   *net.UnixConn
	peer   Peer

	regions []region
	rx      []*RxQueue
	tx      []*TxQueue

	ended atomic.Bool
	done  chan struct{}
	once  sync.Once
	err   error // set before done is closed

	watched chan struct{} // closed when nothing reads the socket any more
	closing sync.Once
}

func newConn(i *Interface, master bool) *Conn {
	return &Conn{iface: i, master: master, done: make(chan struct{}), watched: make(chan struct{})}
}

// Peer is what the other end tells of itself.
type Peer struct {
	// Name of the program, and of its interface.
	Name, Interface string
}

// Rx lists the queues that receive, by ring index.
func (c *Conn) Rx() []*RxQueue { return c.rx }

// Tx lists the queues that send, by ring index.
func (c *Conn) Tx() []*TxQueue { return c.tx }

// Peer is what the other end told of itself.
func (c *Conn) Peer() Peer { return c.peer }

// Done is closed when the connection has ended: queues return nothing more. The
// FD of every RxQueue becomes readable at the same time.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is nil while the connection lasts, and then tells why it ended: it may
// wrap ErrPeerGone, ErrClosed, a *DisconnectError or a *ViolationError.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close ends the connection and frees its memory and file descriptors. No queue
// may be in use and no view be looked at any more. The interface can
// then be connected again.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.end(ErrClosed)
		<-c.watched
		c.free()
		c.iface.free(c)
	})
	return nil
}

// free needs no other goroutine to use c.
func (c *Conn) free() {
	for _, q := range c.rx {
		q.ring, q.buffers, q.released = ring{}, nil, q.next
		q.bell.close()
	}
	for _, q := range c.tx {
		q.ring, q.buffers = ring{}, nil
		q.bell.close()
	}
	for i := range c.regions {
		c.regions[i].unmap()
	}
}

// fail ends the connection from the packet path, if it has not ended.
func (c *Conn) fail(err error) {
	if !c.ended.Load() {
		c.end(err)
	}
}

// Fail ends the connection because of something that the peer did, as the package
// does itself when the peer breaks the protocol: the peer is told, and Err is a
// *ViolationError.
func (c *Conn) Fail(what string) { c.fail(&ViolationError{What: what}) }

// end ends the connection once: tells the peer unless it said so itself, and
// wakes everybody.
func (c *Conn) end(err error) {
	c.once.Do(func() {
		c.err = err
		c.ended.Store(true)
		var said *DisconnectError
		if c.sock != nil {
			if !errors.Is(err, ErrPeerGone) && !errors.As(err, &said) {
				tell(c.sock, reasonFor(err))
			}
			c.sock.Close()
		}
		c.iface.note(err)
		close(c.done)
		for _, q := range c.rx {
			q.bell.wake()
		}
	})
}

// tell sends a DISCONNECT if there is room for it.
func tell(sock *net.UnixConn, reason string) {
	_ = sock.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = sock.Write(disconnectMessage(reason)[:])
}

// watch reads the control socket until the end of the connection.
func (c *Conn) watch() {
	defer close(c.watched)
	for {
		m, fds, err := receive(c.sock)
		closeAll(fds)
		switch {
		case err != nil:
			c.end(err)
		case m.kind() == msgDisconnect:
			c.end(&DisconnectError{Reason: m.reason()})
		case m.kind() == msgAck:
			continue
		default:
			c.end(violation("%v on a connection that stands", m.kind()))
		}
		return
	}
}

// slice is the memory that a peer's descriptor speaks of, or nil after a
// violation.
func (c *Conn) slice(d desc) []byte {
	if int(d.region()) < len(c.regions) {
		if b := c.regions[d.region()].slice(d.offset(), d.length()); b != nil {
			return b
		}
	}
	c.fail(violation("descriptor of %d bytes at %d in region %d", d.length(), d.offset(), d.region()))
	return nil
}

// Guard runs f, which looks at views or fills reserved buffers, and reports
// false if the peer has taken their memory away meanwhile: f was then ended by a
// panic, and the connection with it. This can only happen with
// Config.AllowUnsealed, or where memory is so short that the kernel cannot
// provide a page of a file.
func (c *Conn) Guard(f func()) (ok bool) {
	n := 1
	func() {
		defer c.survive(debug.SetPanicOnFault(true), &n)
		f()
	}()
	return n == 1
}

// survive is deferred around all access to shared memory. A fault there ends the
// connection and sets *n, the result, to 0; any other panic goes on.
func (c *Conn) survive(panicOnFault bool, n *int) {
	debug.SetPanicOnFault(panicOnFault)
	cause := recover()
	if cause == nil {
		return
	}
	if fault, ok := cause.(interface{ Addr() uintptr }); ok && c.holds(fault.Addr()) {
		if n != nil {
			*n = 0
		}
		c.fail(violation("shared memory was taken away"))
		return
	}
	panic(cause)
}

func (c *Conn) holds(addr uintptr) bool {
	for i := range c.regions {
		if c.regions[i].holds(addr) {
			return true
		}
	}
	return false
}
