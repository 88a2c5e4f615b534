// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errShort is for a message that the kernel took a part of, which no UDP socket
// does.
var errShort = errors.New("datagram was sent in part")

// writer sends one burst at a time. Nothing of it is allocated again.
type writer struct {
	wire *wire
	try  func(fd uintptr) bool

	name  [unix.SizeofSockaddrInet6]byte
	iov   [maxSegments]unix.Iovec
	oob   []byte
	msg   unix.Msghdr
	errno unix.Errno
	n     int
}

func newWriter(w *wire) *writer {
	s := &writer{wire: w, oob: make([]byte, unix.CmsgSpace(2))}
	s.try = s.trySend
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.oob[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	return s
}

// Send sends a burst. Datagrams of one size leave as one message, which the
// kernel, or the network card, takes apart.
func (w *wire) Send(_, remote netip.AddrPort, datagrams [][]byte) error {
	s := w.writers.Get().(*writer)
	defer w.writers.Put(s)
	s.address(remote)
	var first error
	for len(datagrams) > 0 {
		n := 1
		if w.whole.Load() {
			n = run(datagrams)
		}
		err := s.send(datagrams[:n])
		if n > 1 && errors.Is(err, unix.EIO) {
			// The device below cannot do the checksums, which is the only
			// thing that is asked of it.
			w.whole.Store(false)
			continue
		}
		if n > 1 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE)) {
			// They are longer than the MTU: Linux fragments a datagram that it is
			// given alone, but none that it has to cut first.
			err = s.sendEach(datagrams[:n])
		}
		if err != nil && first == nil {
			first = fmt.Errorf("send to %s: %w", remote, err)
		}
		datagrams = datagrams[n:]
	}
	return first
}

// run is how many datagrams can go as one: all of one size but the last, which
// may be shorter.
func run(datagrams [][]byte) int {
	size := len(datagrams[0])
	total := size
	n := 1
	for n < len(datagrams) && n < maxSegments {
		d := len(datagrams[n])
		if d > size || d == 0 || total+d > maxPayload {
			break
		}
		total += d
		n++
		if d < size {
			break
		}
	}
	return n
}

// address prepares for a remote. The socket's family is the remote's.
func (s *writer) address(remote netip.AddrPort) {
	addr := remote.Addr().Unmap()
	clear(s.name[:])
	binary.BigEndian.PutUint16(s.name[2:], remote.Port())
	if addr.Is4() {
		binary.NativeEndian.PutUint16(s.name[:], unix.AF_INET)
		ip := addr.As4()
		copy(s.name[4:], ip[:])
		s.msg.Namelen = unix.SizeofSockaddrInet4
	} else {
		binary.NativeEndian.PutUint16(s.name[:], unix.AF_INET6)
		ip := addr.As16()
		copy(s.name[8:], ip[:])
		s.msg.Namelen = unix.SizeofSockaddrInet6
	}
	s.msg.Name = &s.name[0]
}

// send sends datagrams that run has put together.
func (s *writer) send(datagrams [][]byte) error {
	total := 0
	for i, d := range datagrams {
		s.iov[i] = unix.Iovec{Base: unsafe.SliceData(d), Len: uint64(len(d))}
		total += len(d)
	}
	s.msg.Iov = &s.iov[0]
	s.msg.SetIovlen(len(datagrams))
	s.msg.Control = nil
	s.msg.SetControllen(0)
	if len(datagrams) > 1 {
		binary.NativeEndian.PutUint16(s.oob[unix.CmsgLen(0):], uint16(len(datagrams[0])))
		s.msg.Control = &s.oob[0]
		s.msg.SetControllen(len(s.oob))
	}
	err := s.wire.raw.Write(s.try)
	clear(s.iov[:len(datagrams)])
	switch {
	case err != nil:
		return err
	case s.errno != 0:
		return s.errno
	case s.n != total:
		return errShort
	}
	return nil
}

// sendEach sends datagrams one by one.
func (s *writer) sendEach(datagrams [][]byte) error {
	var first error
	for i := range datagrams {
		if err := s.send(datagrams[i : i+1]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// trySend has the caller wait while the socket's buffer is full.
func (s *writer) trySend(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.msg)), 0)
		if errno == unix.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}
