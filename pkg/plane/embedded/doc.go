// SPDX-License-Identifier: Apache-2.0

// Package embedded is the forwarding plane that needs nothing installed: this
// process moves the packets itself, between AF_XDP sockets on the uplink and
// TAP devices or memifs in the pods.
//
// There is one worker per queue of the uplink (worker.go has its stages), which
// owns the queue's socket and reads the pods' devices and rings that were given
// to it.
// Received tunnel packets are looked up in a table that all workers share and
// nobody changes; Join and Leave put another one in its place, and let go of
// what was in the old one when every worker has finished its turn.
//
// Which packets reach the sockets is the classifier's decision; opening
// pinholes for the tunnels is the caller's business.
package embedded
