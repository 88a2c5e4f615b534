// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// From the first byte of a frame to its UDP header, or to the reason why there
// is none that we can see.

#ifndef NSM_PARSE_H
#define NSM_PARSE_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "limits.h"
#include "maps.h"
#include "types.h"
#include "wire.h"

// Returned by the stages that found no reason yet to let go of the frame.
#define GO_ON (-1)

// OPAQUE keeps the compiler from using what it knows of a variable.
#define OPAQUE(variable) asm volatile("" : "+r"(variable))

enum fragmentation {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT,
};

// What is known of a frame so far.
struct frame {
	void *pos;  // next byte to read
	void *end;  // end of the bytes that can be read directly
	__u32 left; // bytes of the frame, later of the IP packet, from pos on
	__u8 fragmentation;
	struct pinhole_key to;
	struct fragment_key fragment; // unless fragmentation is WHOLE
};

// step_over tells whether size more bytes of the packet can be read, and steps
// over them. They cannot if the packet ends before, by its own length or because
// the rest lies in other buffers of a multi-buffer frame.
static __always_inline int step_over(struct frame *f, __u32 size)
{
	if (size > f->left || f->pos + size > f->end)
		return 0;
	f->pos += size;
	f->left -= size;
	return 1;
}

static __always_inline int is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

// parse_ethernet reads the Ethernet header and the VLAN tags, and leaves the
// EtherType of the payload in type. Held ids are 802.1Q ids of the outermost
// tag: an 802.1ad service tag numbers other networks.
static __always_inline int parse_ethernet(struct frame *f, __be16 *type)
{
	struct ethhdr *eth = f->pos;

	if (!step_over(f, sizeof(*eth)))
		return REASON_PASS_TRUNCATED;
	*type = eth->h_proto;
#pragma unroll
	for (int depth = 0; depth < MAX_TAGS; depth++) {
		struct vlan_tag *tag = f->pos;

		if (!is_vlan(*type))
			return GO_ON;
		if (!step_over(f, sizeof(*tag)))
			return REASON_PASS_TRUNCATED;
		if (depth == 0 && *type == bpf_htons(ETH_P_8021Q)) {
			__u16 id = bpf_ntohs(tag->control) & VLAN_ID_MASK;

			if (bpf_map_lookup_elem(&vlans, &id))
				return REASON_REDIRECT_VLAN;
		}
		*type = tag->type;
	}
	return is_vlan(*type) ? REASON_PASS_TAGS : GO_ON;
}

static __always_inline int parse_ipv4(struct frame *f)
{
	__u32 available = f->left;
	struct iphdr *ip = f->pos;
	__u32 header, total, offset;

	if (!step_over(f, sizeof(*ip)))
		return REASON_PASS_TRUNCATED;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || total < header)
		return REASON_PASS_MALFORMED;
	if (total > available)
		return REASON_PASS_TRUNCATED;
	if (ip->protocol != IPPROTO_UDP)
		return REASON_PASS_NOT_UDP;
	f->left = total - sizeof(*ip); // without the padding of short frames
	if (!step_over(f, header - sizeof(*ip)))
		return REASON_PASS_TRUNCATED;

	__builtin_memcpy(f->to.address, &ip->daddr, sizeof(ip->daddr));
	f->to.family = FAMILY_IPV4;

	offset = bpf_ntohs(ip->frag_off);
	if (offset & IPV4_OFFSET_MASK)
		f->fragmentation = LATER_FRAGMENT;
	else if (offset & IPV4_MORE_FRAGMENTS)
		f->fragmentation = FIRST_FRAGMENT;
	else
		return GO_ON;
	__builtin_memcpy(f->fragment.source, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(f->fragment.destination, &ip->daddr, sizeof(ip->daddr));
	f->fragment.id = ip->id;
	f->fragment.family = FAMILY_IPV4;
	return GO_ON;
}

// parse_fragment_header reads an IPv6 fragment header. A datagram in one piece
// may carry one too (RFC 6946).
static __always_inline int parse_fragment_header(struct frame *f,
						 struct ipv6hdr *ip, __u8 *next)
{
	struct ipv6_fragment *header = f->pos;
	__u16 offset;

	if (!step_over(f, sizeof(*header)))
		return REASON_PASS_TRUNCATED;
	if (f->fragment.family)
		return REASON_PASS_MALFORMED; // the second one
	f->fragment.family = FAMILY_IPV6;
	*next = header->next;
	offset = bpf_ntohs(header->offset);
	if (offset & IPV6_OFFSET_MASK)
		f->fragmentation = LATER_FRAGMENT;
	else if (offset & IPV6_MORE_FRAGMENTS)
		f->fragmentation = FIRST_FRAGMENT;
	else
		return GO_ON;
	__builtin_memcpy(f->fragment.source, &ip->saddr, ADDRESS_SIZE);
	__builtin_memcpy(f->fragment.destination, &ip->daddr, ADDRESS_SIZE);
	f->fragment.id = header->id;
	return GO_ON;
}

// parse_extension steps over one extension header of the kind next and
// leaves the kind of the following header in next. The unit of its length is
// found without a branch: the verifier would follow both sides, in every round.
static __always_inline int parse_extension(struct frame *f, __u8 *next)
{
	struct ipv6_extension *header = f->pos;
	__u32 differs = *next ^ IPPROTO_AH;
	__u32 more;

	if (!step_over(f, 8))
		return REASON_PASS_TRUNCATED;
	if (*next == IPPROTO_ROUTING && header->segments_left)
		return REASON_PASS_NOT_FINAL;
	OPAQUE(differs);
	more = (__u32)header->length * 8 >> ((differs - 1) >> 31);
	OPAQUE(more);
	more &= 255 * 8 | 7; // as the verifier cannot tell
	*next = header->next;
	if (!step_over(f, more))
		return REASON_PASS_TRUNCATED;
	return GO_ON;
}

static __always_inline int parse_ipv6(struct frame *f)
{
	struct ipv6hdr *ip = f->pos;
	__u32 payload;
	__u8 next;

	if (!step_over(f, sizeof(*ip)))
		return REASON_PASS_TRUNCATED;
	payload = bpf_ntohs(ip->payload_len);
	// No payload: a jumbogram (RFC 2675), or nothing that has a port.
	if (ip->version != 6 || !payload)
		return REASON_PASS_MALFORMED;
	if (payload > f->left)
		return REASON_PASS_TRUNCATED;
	f->left = payload;
	__builtin_memcpy(f->to.address, &ip->daddr, ADDRESS_SIZE);
	f->to.family = FAMILY_IPV6;

	next = ip->nexthdr;
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		int reason;

		switch (next) {
		case IPPROTO_UDP:
			return GO_ON;
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_AH:
			if (i == MAX_EXTENSIONS)
				return REASON_PASS_EXTENSIONS;
			reason = parse_extension(f, &next);
			break;
		case IPPROTO_FRAGMENT:
			if (i == MAX_EXTENSIONS)
				return REASON_PASS_EXTENSIONS;
			reason = parse_fragment_header(f, ip, &next);
			break;
		default:
			return REASON_PASS_NOT_UDP;
		}
		// What follows the header of a later fragment is payload.
		if (reason != GO_ON || f->fragmentation == LATER_FRAGMENT)
			return reason;
	}
	return REASON_PASS_EXTENSIONS;
}

#endif
