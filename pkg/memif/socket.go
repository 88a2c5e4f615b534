// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// receive reads one message and its file descriptors, which are the caller's
// even when there is an error.
func receive(sock *net.UnixConn) (m *message, fds []int, err error) {
	// One byte more than a message, and more descriptors than any message has,
	// to see what is too much.
	var body [messageSize + 1]byte
	control := make([]byte, unix.CmsgSpace(4*4)+unix.CmsgSpace(unix.SizeofUcred))
	n, controlLen, flags, _, err := sock.ReadMsgUnix(body[:], control)
	if controlLen > 0 {
		fds = parseFDs(control[:controlLen])
	}
	switch {
	case err != nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)),
		err == nil && n == 0:
		return nil, fds, ErrPeerGone
	case err != nil:
		return nil, fds, fmt.Errorf("memif: read control socket: %w", err)
	case n != messageSize || flags&unix.MSG_TRUNC != 0:
		return nil, fds, violation("message of %d bytes", n)
	case flags&unix.MSG_CTRUNC != 0:
		return nil, fds, violation("too many file descriptors")
	}
	m = (*message)(body[:])
	if want := m.kind().fds(); len(fds) != want {
		return nil, fds, violation("%v with %d file descriptors instead of %d", m.kind(), len(fds), want)
	}
	return m, fds, nil
}

func parseFDs(control []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		if rights, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, rights...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// send writes one message, with a file descriptor unless that is negative.
func send(sock *net.UnixConn, m *message, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if _, _, err := sock.WriteMsgUnix(m[:], rights, nil); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			return ErrPeerGone
		}
		return fmt.Errorf("memif: write control socket: %w", err)
	}
	return nil
}
