// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Every limit of the classifier. A frame beyond a limit goes to Linux; an entry
// beyond one is refused when user space adds it.

#ifndef NSM_LIMITS_H
#define NSM_LIMITS_H

// Receive queues of one interface that can have a socket.
#define MAX_QUEUES 1024
// Pairs of (tunnel address, UDP port).
#define MAX_PINHOLES 16384
// VNIs over all VNI-selective pinholes.
#define MAX_VNIS 65536
// 802.1Q ids that can be held: 1..4094.
#define MAX_VLANS 4094
// Datagrams in fragments whose first fragment is remembered.
#define MAX_FRAGMENTS 4096
// VLAN tags that are read through to find the IP header.
#define MAX_TAGS 2
// IPv6 extension headers that are read through to find the UDP header.
#define MAX_EXTENSIONS 6
// How long later fragments follow their first one. Fragments of a datagram
// arrive back to back, and a fast sender reuses an IPv4 identification
// soon (RFC 6864), so this is far below the 15 s of RFC 791.
#define FRAGMENT_LIFETIME_NS 2000000000ULL

#endif
