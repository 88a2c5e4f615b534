// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// Headers as they stand on the wire, big endian, and the numbers in them. Only
// what linux/if_ether.h, linux/ip.h, linux/ipv6.h and linux/udp.h do not have.

#ifndef NSM_WIRE_H
#define NSM_WIRE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_OFFSET_MASK 0xfff8

// IEEE 802.1Q: what follows the EtherType 0x8100 or 0x88a8.
struct vlan_tag {
	__be16 control; // priority 3 bits, drop eligible 1, id 12
	__be16 type;    // EtherType of what follows
};
#define VLAN_ID_MASK 0x0fff

// RFC 8200 section 4: all but the fragment header begin like this, and length
// counts what lies beyond the first 8 bytes in units of 8 (AH: RFC 4302,
// beyond the first 8 in units of 4).
struct ipv6_extension {
	__u8 next;
	__u8 length;
	__u8 type;          // routing header: type of routing
	__u8 segments_left; // routing header: 0 if the destination is final
};

// RFC 8200 section 4.5.
struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset; // offset in units of 8 bytes, 13 bits; 2 reserved; more
	__be32 id;
};

// RFC 7348 section 5.
struct vxlan_header {
	__be32 flags;
	__be32 vni; // 24 bits, then 8 reserved that a receiver ignores
};
#define VXLAN_VALID_VNI 0x08000000
#define VXLAN_VNI_SHIFT 8

#endif
