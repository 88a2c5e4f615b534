// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Keys and values of the maps. User space builds the same bytes
// (pkg/classifier, through the generated types), so nothing here has hidden
// padding.

#ifndef NSM_TYPES_H
#define NSM_TYPES_H

#include <linux/types.h>

// Why a frame left the way it did: the index into the counters. The redirects
// come first.
enum reason {
	REASON_REDIRECT_PINHOLE,
	REASON_REDIRECT_VNI,
	REASON_REDIRECT_FRAGMENT,
	REASON_REDIRECT_VLAN,
	REASON_PASS_NO_SOCKET,
	REASON_PASS_NO_PINHOLE,
	REASON_PASS_NO_VNI,
	REASON_PASS_NOT_VXLAN,
	REASON_PASS_FRAGMENT_UNKNOWN,
	REASON_PASS_FRAGMENT_EXPIRED,
	REASON_PASS_NOT_UDP,
	REASON_PASS_NOT_IP,
	REASON_PASS_NOT_FINAL,
	REASON_PASS_TAGS,
	REASON_PASS_EXTENSIONS,
	REASON_PASS_TRUNCATED,
	REASON_PASS_MALFORMED,
	REASONS,
};
#define REASON_LAST_REDIRECT REASON_REDIRECT_VLAN

struct counter {
	__u64 packets;
	__u64 bytes; // from the Ethernet header on, without FCS
};

// An IPv4 address stands in the first 4 bytes of its 16, the rest zero.
#define ADDRESS_SIZE 16
#define FAMILY_IPV4 4
#define FAMILY_IPV6 6

struct pinhole_key {
	__u8 address[ADDRESS_SIZE]; // destination, wire order
	__u8 port[2];               // destination, wire order
	__u8 family;                // FAMILY_IPV4, FAMILY_IPV6
	__u8 zero;
};

enum scope {
	SCOPE_PORT = 1, // every datagram of the port
	SCOPE_VNIS = 2, // only VXLAN of the VNIs in the map vnis
};

struct pinhole {
	enum scope scope;
};

struct vni_key {
	struct pinhole_key pinhole;
	__u32 vni; // host order
};

// The protocol, which is part of this in RFC 791, is always UDP; in IPv6 the
// later fragments need not know it (RFC 8200 section 4.5).
struct fragment_key {
	__u8 source[ADDRESS_SIZE];
	__u8 destination[ADDRESS_SIZE];
	__u32 id; // identification, wire order
	__u8 family;
	__u8 zero[3];
};

struct fragment {
	__u64 seen; // CLOCK_MONOTONIC of the first fragment in ns
};

#endif
