// SPDX-License-Identifier: Apache-2.0

package memif

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed says that this end closed the connection, the interface or the
	// listener.
	ErrClosed = errors.New("memif: closed")
	// ErrInUse says that the interface has a connection that is not closed yet, or
	// that another goroutine waits for one, or that its id is taken.
	ErrInUse = errors.New("memif: in use")
	// ErrPeerGone says that the peer closed the control socket, or its process
	// ended.
	ErrPeerGone = errors.New("memif: the peer is gone")
)

// DisconnectError says that the peer ended the connection, and why.
type DisconnectError struct{ Reason string }

func (e *DisconnectError) Error() string {
	return fmt.Sprintf("memif: the peer disconnected: %q", e.Reason)
}

// ViolationError says that the peer broke the protocol, in its messages or in
// the shared memory. Its text is sent to the peer.
type ViolationError struct{ What string }

func (e *ViolationError) Error() string { return "memif: protocol violation: " + e.What }

func violation(format string, args ...any) error {
	return &ViolationError{What: fmt.Sprintf(format, args...)}
}

// refusalError says that this end turned the peer down for a reason that is not
// against the protocol: a wrong secret, an id that does not exist.
type refusalError struct{ reason string }

func (e *refusalError) Error() string { return "memif: peer refused: " + e.reason }

func refusal(format string, args ...any) error {
	return &refusalError{reason: fmt.Sprintf(format, args...)}
}

// reasonFor is the text that a peer is told.
func reasonFor(err error) string {
	var v *ViolationError
	var r *refusalError
	switch {
	case errors.As(err, &v):
		return v.What
	case errors.As(err, &r):
		return r.reason
	case errors.Is(err, ErrClosed):
		return "closed"
	}
	return "internal error"
}
