// SPDX-License-Identifier: Apache-2.0

// Package grpcfd passes file descriptors along a gRPC connection over a unix socket.
//
// Descriptors ride as SCM_RIGHTS (unix(7)) beside the bytes of the connection,
// below TLS: every queued descriptor takes one byte of whatever is written next
// with it, at most 64 in one Write. The receiver files them by device and inode
// number, which is also how messages refer to them: "inode://${dev}/${ino}". Linux
// only.
//
// A descriptor that never comes shows up as a wait without end, not as an error:
// receivers bring a deadline.
package grpcfd
