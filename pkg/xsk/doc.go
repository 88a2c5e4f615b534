// SPDX-License-Identifier: Apache-2.0

// Package xsk gives Go programs AF_XDP sockets: frames between a queue of a
// network interface and memory of this process, without cgo and without
// allocating on the packet path. The kernel's side is described in
// Documentation/networking/af_xdp.rst; Linux 5.4 or later is needed, 5.10 for a
// UMEM shared by several sockets, and 6.6 for packets of several frames.
//
// # Frames and who owns them
//
// Packets live in a UMEM, memory that is cut into frames (chunks) of one size
// and named by their address, an offset from the start of the UMEM. A frame has
// one owner at any time and goes round like this:
//
//	      Alloc                Transmit                 (kernel sends)
//	free ------> caller ------------------> TX ring -----------------> free
//	 |            ^  |                                                  ^
//	 | Receive    |  | Free, Recycle                                    |
//	 v            |  +--------------------------------------------------+
//	FILL ring --> RX ring
//	  (kernel receives)
//
// A received frame may be handed to Transmit as it is, on the same socket or on
// one that shares its UMEM: that is forwarding without a copy. The UMEM records
// the owner of every frame, and a frame that comes from somebody who does not own
// it (from the caller or from a ring) is refused and counted in
// Statistics.Refused, so that no mistake can put one frame into two rings.
//
// A part of the frames is kept for either direction: at most FillSize are
// posted for receiving and at most TxSize are under way out, so neither a flood
// nor a stalled transmitter can starve the other direction, and the rings cannot
// overflow.
//
// # One goroutine
//
// A Socket has no locks. All sockets of one UMEM belong to one goroutine at a
// time. Others may call Statistics at any time, and FD, Queue and ZeroCopy until
// Close. The default is one UMEM per socket, which lets every queue have a worker of its
// own. Config.UMEM shares one: for a single worker that serves several queues or
// interfaces and moves frames between them.
//
// # Network namespaces
//
// Open works in the network namespace of the calling thread. Callers who
// want another one lock their goroutine to a thread and switch it before Open;
// afterwards the Socket works from any thread and namespace.
package xsk
