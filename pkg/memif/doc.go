// SPDX-License-Identifier: Apache-2.0

// Package memif gives Go programs shared-memory packet interfaces: version 2.0
// of the memif protocol, which VPP, DPDK (net_memif) and libmemif speak, in both
// roles, without cgo and without allocating on the packet path. The protocol is
// described in VPP's src/plugins/memif/memif.h.
//
// # Roles
//
// The master listens on a unix socket, the slave connects to it and provides the
// memory: a memfd with rings and buffers. One Listener serves the masters of
// several interfaces, told apart by id. Apart from that both roles look the same
// here: an Interface, whose Connect waits for the peer and returns a Conn.
//
//	for ctx.Err() == nil {
//		conn, err := iface.Connect(ctx) // a slave dials until it succeeds
//		...
//		serve(conn.Rx(), conn.Tx())     // until conn.Done() is closed
//		conn.Close()
//	}
//
// A Relay stands between peers that cannot reach each other's sockets: it passes
// on what they say to each other there, and none of their packets.
//
// # Packets and who owns them
//
// A Packet is a view of shared memory. RxQueue.Receive gives a burst of views
// which are good until RxQueue.Release hands their buffers back to the peer.
// TxQueue.Send copies a burst into buffers of the shared memory, the one copy
// that cannot be avoided when a packet comes from elsewhere; TxQueue.Reserve and
// Commit let the caller produce packets in place instead. A packet may be
// larger than a buffer: it is then several Packets in a row, all but the last
// with Next set.
//
// # One goroutine, and when memory goes away
//
// Queues have no locks: each belongs to one goroutine at a time, different
// queues may belong to different ones. When the peer goes, Done is closed and the
// queues return nothing more, but memory stays mapped, so that a view in hand
// stays readable, until whoever owns the queues has put them down and calls
// Conn.Close.
//
// # The peer is not trusted
//
// The peer can write anything to the shared memory at any time. Whatever the
// package takes from there (indices, regions, offsets, lengths, flags) it reads
// once, checks, and then uses its own copy. A peer that breaks the protocol
// loses its connection: Conn.Err says what it did, and Statistics.Violations
// counts it. Two things remain for the caller:
//
//   - A view can change while it is looked at. Copy what a decision is based on
//     before deciding.
//   - Memory can be taken away. A region must be sealed against shrinking
//     (F_SEAL_SHRINK); a missing seal is added, and a region that cannot be sealed is
//     refused. VPP, DPDK and libmemif seal theirs, but not huge pages, which
//     VPP and DPDK export as slaves in zero-copy mode: Config.AllowUnsealed accepts
//     them. The package survives faults in such memory; the caller's own
//     reading of views must then be done within Conn.Guard.
//
// # Memory order
//
// The ring's indices are 16 bits wide; Go has no atomic operations of that
// size. The head shares an aligned 32-bit word with the ring's flags: it is
// loaded with them in one atomic load, and moved by adding to the upper half of the
// word, where a carry falls off the end and the lower half stays as it is,
// whatever the peer does to the flags at the same time. The tail has a word
// of its own. Go's atomics are sequentially consistent, which covers the acquire
// and release that the rings need and the store-load order that going to sleep
// needs. This depends on the order of bytes: only little-endian machines are
// supported.
//
// # Interrupts and polling
//
// An RxQueue starts in polling mode: the peer makes no system call for it.
// RxQueue.Arm asks for a signal on RxQueue.FD, an eventfd for the caller's epoll,
// before going to sleep, and RxQueue.Disarm returns to polling.
package memif
