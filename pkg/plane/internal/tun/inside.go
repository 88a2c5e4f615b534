// SPDX-License-Identifier: Apache-2.0

package tun

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
	"github.com/nsm-afxdp/forwarder/pkg/plane/internal/tally"
)

// maxPacket is room for the largest packet that a device gives.
const maxPacket = 72 << 10

// Inside is a pod's TUN device as a WireGuard tunnel wants it (wireguard.Inside).
// The descriptor is a duplicate, so that the device outlives the tunnel.
type Inside struct {
	name     string
	limit    int // of a packet, in bytes
	counters *tally.Counters
	file     *os.File
	raw      syscall.RawConn

	in  reading
	out writing
}

// reading is what Read is at; one goroutine reads.
type reading struct {
	buf     []byte // an Offload and a packet
	segment packet.Segmenter
	try     func(fd uintptr) bool // made once: Read does not allocate
	n       int
	errno   unix.Errno

	answers Answers
	reply   [packet.OffloadLen + packet.MaxTooBigLen]byte
	pending int                   // of reply
	answer  func(fd uintptr) bool // made once
}

// writing is what Write is at; one goroutine writes.
type writing struct {
	coalesce packet.Coalescer
	iov      [packet.MaxBurst + 1]unix.Iovec
	bufs     [][]byte
	offset   int
	try      func(fd uintptr) bool
}

// NewInside hands the device fd to a tunnel; nobody else may read it until Close.
// Packets of more than limit bytes are answered as too big. The pod is the peer
// that counters speak of.
func NewInside(fd int, name string, limit int, counters *tally.Counters) (*Inside, error) {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor of %s: %w", name, err)
	}
	i := &Inside{name: name, limit: limit, counters: counters, file: os.NewFile(uintptr(fd), name)}
	if i.raw, err = i.file.SyscallConn(); err != nil {
		_ = i.file.Close()
		return nil, fmt.Errorf("read and write %s: %w", name, err)
	}
	i.out.coalesce.Trains = Trains(fd)
	i.in.buf = make([]byte, packet.OffloadLen+maxPacket)
	i.in.try = i.tryRead
	i.in.answer = i.tryAnswer
	i.out.try = i.tryWrite
	return i, nil
}

// Close ends Read and Write. The device stays.
func (i *Inside) Close() error { return i.file.Close() }

// Read returns packets ready for the wire: segments of a large one, and what
// else the pod has sent.
func (i *Inside) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	in := &i.in
	c := i.counters
	for {
		n := 0
		for n < len(bufs) && in.segment.Left() {
			sizes[n] = in.segment.Next(bufs[n][offset:])
			n++
		}
		if n > 0 {
			return n, nil
		}
		if err := i.raw.Read(in.try); err != nil {
			return 0, err
		}
		if in.errno != 0 {
			return 0, fmt.Errorf("read %s: %w", i.name, in.errno)
		}
		if in.n < packet.OffloadLen {
			continue
		}
		b := in.buf[packet.OffloadLen:in.n]
		c.Received(1, len(b))
		var o packet.Offload
		o.Decode(in.buf)
		if o.GSOType != packet.GSONone {
			if !in.segment.Start(&o, packet.IP, b, nil, min(i.limit, len(bufs[0])-offset)) {
				c.Dropped(1)
				if in.segment.TooBig() {
					i.tooBig(b)
				}
			}
			continue
		}
		if len(b) > i.limit || len(b) > len(bufs[0])-offset {
			c.Dropped(1)
			i.tooBig(b)
			continue
		}
		if !o.FinishChecksum(b) {
			c.Dropped(1)
			continue
		}
		sizes[0] = copy(bufs[0][offset:], b)
		return 1, nil
	}
}

// tryRead reads one packet, or has the caller wait for one.
func (i *Inside) tryRead(fd uintptr) bool {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&i.in.buf[0])), uintptr(len(i.in.buf)))
	i.in.n, i.in.errno = int(n), errno
	return errno != unix.EAGAIN
}

// tooBig tells the pod that a packet is too big for the tunnel.
func (i *Inside) tooBig(b []byte) {
	in := &i.in
	if !in.answers.Allow() {
		return
	}
	n := packet.TooBig(in.reply[packet.OffloadLen:], b, packet.IP, i.limit)
	if n == 0 {
		return
	}
	clear(in.reply[:packet.OffloadLen])
	in.pending = packet.OffloadLen + n
	_ = i.raw.Write(in.answer) // fails when the tunnel is being closed
}

func (i *Inside) tryAnswer(fd uintptr) bool {
	// It does not block, and so the Go scheduler is not told of it.
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&i.in.reply[0])), uintptr(i.in.pending))
	return true
}

// Write gives packets to the pod, those that follow each other as one.
func (i *Inside) Write(bufs [][]byte, offset int) (int, error) {
	total := 0
	for len(bufs) > 0 {
		n := min(len(bufs), packet.MaxBurst)
		out := &i.out
		out.bufs, out.offset = bufs[:n], offset
		out.coalesce.Reset(packet.IP)
		for _, b := range out.bufs {
			out.coalesce.Add(b[offset:])
		}
		out.coalesce.Finish()
		if err := i.raw.Write(out.try); err != nil {
			return total, err
		}
		total += n
		bufs = bufs[n:]
	}
	return total, nil
}

// tryWrite writes all packets: a TUN device never has its writers wait.
func (i *Inside) tryWrite(fd uintptr) bool {
	out := &i.out
	packets, bytes, drops := 0, 0, 0
	for j := range out.coalesce.Packets() {
		p := out.coalesce.Packet(j)
		first := out.bufs[p.First][out.offset-packet.OffloadLen:]
		p.Offload.Put(first)
		out.iov[0] = iovec(first[:packet.OffloadLen+len(out.coalesce.Bytes(p, p.First))])
		n := 1
		for k := p.First; k != p.Last; n++ {
			k = out.coalesce.Next(k)
			out.iov[n] = iovec(out.coalesce.Bytes(p, k))
		}
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&out.iov)), uintptr(n))
		if errno != 0 {
			drops += p.Segments
			continue
		}
		packets++
		bytes += p.Len
	}
	c := i.counters
	c.Sent(packets, bytes)
	c.Dropped(drops)
	return true
}

func iovec(b []byte) unix.Iovec {
	return unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
}
