// SPDX-License-Identifier: Apache-2.0

// Package wireguard runs many WireGuard tunnels behind one UDP port, without a
// UDP socket: whoever owns the wire hands datagrams in and takes datagrams out.
//
// The protocol and its cryptography are wireguard-go's. Each Tunnel is a
// wireguard-go device of its own, with one peer and its own key pair, as NSM
// makes one per connection. What is here is what lies between such devices and
// a shared port.
//
// A datagram from the wire goes through these stages:
//
//  1. Hub.Receive reads type, length and receiver index (message.go).
//  2. Responses, cookies and transport data name the session they belong to by
//     an index that we chose: a lock-free table gives the tunnel (index.go). It
//     learns the indices from the handshake messages that the tunnels send
//     (session.go).
//  3. Initiations name nobody, but their mac1 is keyed with the public key of
//     the one they are meant for: they leave the packet path for a small queue,
//     and the tunnels of the sender's address are tried (initiation.go).
//  4. The tunnel's inbox takes a copy (inbox.go), and the device's receive
//     routine fetches it from there (bind.go).
//  5. The device authenticates, decrypts, and writes the IP packet to Inside
//     (inside.go).
//
// The other way, the device reads bursts of IP packets from Inside and gives
// bursts of datagrams to Transport.
//
// Nothing before stage 5 is authenticated. Stages 1 to 4 therefore only decide
// which device looks at a datagram, cost a bounded amount of work, and count
// every datagram that goes no further.
//
// A tunnel costs memory even when it is idle, nearly all of it wireguard-go's:
// about 150 KiB resident, and goroutines, three for each core of the machine and
// nine more. The collector counts 1.3 MiB, since it sees buffers of 64 KiB of
// which only the first page is in use: with many tunnels a memory limit
// (GOMEMLIMIT) must leave room for that, and GOGC is relative to it.
//
// Message formats and mac1: "WireGuard: Next Generation Kernel Network Tunnel",
// Donenfeld, section 5.4.
package wireguard
