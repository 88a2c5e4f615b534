// SPDX-License-Identifier: Apache-2.0

package grpcfd

import (
	"context"
	"os"
	"syscall"

	"google.golang.org/grpc/peer"
)

// SyscallConn is a file, socket, or anything else with a descriptor.
type SyscallConn interface {
	SyscallConn() (syscall.RawConn, error)
}

// FDSender queues descriptors that leave with the next bytes written. The sender
// keeps a duplicate, so the caller may close its own at once. The channel yields an
// error if there is one and is closed once the descriptor has been sent or given up.
type FDSender interface {
	SendFD(fd uintptr) <-chan error
	SendFile(file SyscallConn) <-chan error
	// SendFilename opens the file with O_PATH, so that sockets and files without
	// read permission can be passed too. A file that does not open fails at once.
	SendFilename(filename string) <-chan error
}

// FDRecver hands out duplicates of the descriptors that arrived, whether they did so
// before or after the call; closing them is up to the caller. The channel yields one
// value and is closed, or is closed without a value when the connection ends first.
type FDRecver interface {
	RecvFD(dev, inode uint64) <-chan uintptr
	// RecvFile yields a file named "/proc/${pid}/fd/${fd}".
	RecvFile(dev, ino uint64) <-chan *os.File
	RecvFileByURL(urlStr string) (<-chan *os.File, error)
	RecvFDByURL(urlStr string) (<-chan uintptr, error)
}

// FDTransceiver sends and receives descriptors.
type FDTransceiver interface {
	FDSender
	FDRecver
}

// FromPeer returns the transceiver of a peer; ok is false when its connection is
// not over a unix socket or does not have TransportCredentials.
func FromPeer(p *peer.Peer) (transceiver FDTransceiver, ok bool) {
	if p == nil {
		return nil, false
	}
	transceiver, ok = p.Addr.(FDTransceiver)
	return transceiver, ok
}

// FromContext is FromPeer for the peer in the context of a gRPC call.
func FromContext(ctx context.Context) (transceiver FDTransceiver, ok bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	return FromPeer(p)
}
