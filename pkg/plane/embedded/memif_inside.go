// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tun"
	"github.com/nsm-afxdp/forwarder/pkg/wireguard"
)

var _ insider = (*memifPort)(nil)

// inside hands the ring of each peer to a tunnel, which is the only reader then.
func (m *memifPort) inside(limit int) (wireguard.Inside, error) {
	if m.link != packet.IP {
		return nil, fmt.Errorf("%s carries no IP packets", m.port)
	}
	i := &memifInside{port: m, limit: limit}
	i.changed.L = &i.mu
	i.look = i.tryRead
	i.copied = i.copyViews
	if err := m.read(i); err != nil {
		return nil, err
	}
	return i, nil
}

// memifInside is a memif as a WireGuard tunnel wants it. It is the reader of its
// port: Read waits for the peer, too, if there is none.
type memifInside struct {
	port  *memifPort
	limit int // of a packet, in bytes

	mu      sync.Mutex
	changed sync.Cond
	conn    *memif.Conn // nil without a peer
	queue   *memif.RxQueue
	bell    *os.File // a duplicate of the queue's descriptor
	raw     syscall.RawConn
	closed  bool

	// What Read is at; one goroutine reads, under the lock.
	views   [burstSize]memif.Packet
	got     int // views not copied yet are views[at:got]
	at      int
	armed   bool
	vain    int // signals in vain
	bufs    [][]byte
	sizes   []int
	offset  int
	n       int // packets copied
	look    func(fd uintptr) bool
	copied  func()
	answers tun.Answers
	reply   [packet.MaxTooBigLen]byte

	out [burstSize]memif.Packet // what Write is at; one goroutine writes
}

var errMemifRings = errors.New("the peer has made no ring to us")

func (i *memifInside) begin(c *memif.Conn) error {
	if len(c.Rx()) == 0 {
		return errMemifRings
	}
	fd, err := unix.FcntlInt(uintptr(c.Rx()[0].FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate descriptor of ring: %w", err)
	}
	bell := os.NewFile(uintptr(fd), "memif ring")
	raw, err := bell.SyscallConn()
	if err != nil {
		_ = bell.Close()
		return fmt.Errorf("wait for descriptor of ring: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.conn, i.queue, i.bell, i.raw = c, c.Rx()[0], bell, raw
	i.got, i.at, i.armed, i.vain = 0, 0, false, 0
	i.changed.Broadcast()
	return nil
}

func (i *memifInside) end() {
	i.mu.Lock()
	bell := i.bell
	if i.conn != nil {
		i.queue.Release()
		i.conn, i.queue, i.bell, i.raw = nil, nil, nil, nil
	}
	i.mu.Unlock()
	if bell != nil {
		_ = bell.Close() // when Read has returned from waiting for it
	}
}

// Close ends Read. The memif stays.
func (i *memifInside) Close() error {
	i.mu.Lock()
	i.closed = true
	i.changed.Broadcast()
	i.mu.Unlock()
	i.port.unread(i)
	return nil
}

// Read returns packets that the peer has sent.
func (i *memifInside) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	i.bufs, i.sizes, i.offset = bufs, sizes, offset
	for {
		i.mu.Lock()
		for i.conn == nil && !i.closed {
			i.changed.Wait()
		}
		conn, raw, closed := i.conn, i.raw, i.closed
		i.mu.Unlock()
		if closed {
			return 0, os.ErrClosed
		}
		i.n = 0
		err := raw.Read(i.look)
		if i.n > 0 {
			return i.n, nil
		}
		if err != nil && i.reads(conn) {
			conn.Fail("descriptor of ring cannot be waited for")
		}
	}
}

// reads tells whether a connection is still the one to read.
func (i *memifInside) reads(c *memif.Conn) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.conn == c
}

// tryRead copies packets, or has the caller wait for some.
func (i *memifInside) tryRead(uintptr) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.conn != nil {
		if i.armed {
			i.queue.Disarm()
			i.armed = false
			if i.vain++; i.vain > alarms {
				i.conn.Fail("signals without packets")
			}
		}
		if i.at == i.got {
			i.got, i.at = i.queue.Receive(i.views[:]), 0
		}
		if i.got > 0 {
			i.vain = 0
			if !i.conn.Guard(i.copied) {
				i.n, i.at = 0, i.got
			}
			if i.at == i.got {
				i.queue.Release()
				i.got, i.at = 0, 0
			}
			if i.n > 0 {
				return true
			}
			continue
		}
		i.armed = true
		if i.queue.Arm() {
			return false
		}
		if i.conn.Err() != nil {
			return false // until end closes the descriptor
		}
	}
	return true
}

// copyViews fills the caller's buffers.
func (i *memifInside) copyViews() {
	drops := 0
	for i.at < i.got && i.n < len(i.bufs) {
		b := i.bufs[i.n][i.offset:]
		size, fits := 0, true
		for more := true; more; i.at++ {
			v := &i.views[i.at]
			more = v.Next
			n := copy(b[size:], v.Data)
			fits = fits && n == len(v.Data)
			size += n
		}
		switch {
		case !fits || size < packet.IPv4Len:
			drops++
		case size > min(i.limit, i.port.limit):
			drops++
			i.tooBig(b[:size])
		default:
			i.sizes[i.n] = size
			i.n++
		}
	}
	i.port.dropped[0].Dropped(drops)
}

// tooBig tells the pod that a packet is too big for the tunnel.
func (i *memifInside) tooBig(b []byte) {
	if !i.answers.Allow() {
		return
	}
	if n := packet.TooBig(i.reply[:], b, packet.IP, min(i.limit, i.port.limit)); n > 0 {
		i.port.put(0, []memif.Packet{{Data: i.reply[:n]}})
	}
}

// Write gives packets to the pod.
func (i *memifInside) Write(bufs [][]byte, offset int) (int, error) {
	total := len(bufs)
	for len(bufs) > 0 {
		n := min(len(bufs), len(i.out))
		for j, b := range bufs[:n] {
			i.out[j] = memif.Packet{Data: b[offset:]}
		}
		if taken := i.port.put(0, i.out[:n]); taken < n {
			i.port.lost(0, i.out[taken:n])
		}
		bufs = bufs[n:]
	}
	return total, nil
}
