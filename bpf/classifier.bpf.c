// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// The classifier: which frames of an uplink go to an AF_XDP socket. A frame
// passes these stages, and the first that knows leaves its reason:
//
//   1. Ethernet and VLAN tags: an id that we hold?             (parse.h)
//   2. IPv4 or IPv6, options and extension headers             (parse.h)
//   3. later fragments: did the first one go to the socket?
//   4. UDP: a pinhole for its destination address and port?
//   5. VXLAN: a VNI of that pinhole, if it is selective?
//   6. leave: to the socket of the queue if there is one, else to Linux.
//
// Whatever is not recognised, damaged or in doubt goes to Linux. No frame is
// dropped or changed.

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "limits.h"
#include "maps.h"
#include "parse.h"
#include "types.h"
#include "wire.h"

// Set before loading. Kernels before 5.18 have neither multi-buffer frames nor
// the helper that tells their length.
const volatile __u8 multi_buffer = 1;

static __always_inline __u32 frame_length(struct xdp_md *ctx)
{
	if (multi_buffer)
		return bpf_xdp_get_buff_len(ctx);
	return ctx->data_end - ctx->data;
}

static __always_inline int follow_first_fragment(struct frame *f)
{
	struct fragment *first = bpf_map_lookup_elem(&fragments, &f->fragment);

	if (!first)
		return REASON_PASS_FRAGMENT_UNKNOWN;
	if (bpf_ktime_get_ns() - first->seen > FRAGMENT_LIFETIME_NS)
		return REASON_PASS_FRAGMENT_EXPIRED;
	return REASON_REDIRECT_FRAGMENT;
}

// remember_first_fragment notes where a first fragment went. One that goes to
// Linux takes back what a datagram with the same identification left behind.
static __always_inline void remember_first_fragment(struct frame *f, int verdict)
{
	if (verdict == XDP_REDIRECT) {
		struct fragment first = { .seen = bpf_ktime_get_ns() };

		bpf_map_update_elem(&fragments, &f->fragment, &first, BPF_ANY);
	} else {
		bpf_map_delete_elem(&fragments, &f->fragment);
	}
}

static __always_inline int classify_vxlan(struct frame *f, __u32 length)
{
	struct vxlan_header *vxlan = f->pos;
	struct vni_key key = { .pinhole = f->to };

	if (length < sizeof(*vxlan))
		return REASON_PASS_NOT_VXLAN;
	if (!step_over(f, sizeof(*vxlan)))
		return REASON_PASS_TRUNCATED;
	if (!(vxlan->flags & bpf_htonl(VXLAN_VALID_VNI)))
		return REASON_PASS_NOT_VXLAN;
	key.vni = bpf_ntohl(vxlan->vni) >> VXLAN_VNI_SHIFT;
	return bpf_map_lookup_elem(&vnis, &key) ? REASON_REDIRECT_VNI
						: REASON_PASS_NO_VNI;
}

static __always_inline int classify_udp(struct frame *f)
{
	__u32 available = f->left;
	struct udphdr *udp = f->pos;
	struct pinhole *pinhole;
	__u32 length;

	if (!step_over(f, sizeof(*udp)))
		return REASON_PASS_TRUNCATED;
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp))
		return REASON_PASS_MALFORMED;
	if (f->fragmentation == WHOLE && length > available)
		return REASON_PASS_MALFORMED;

	__builtin_memcpy(f->to.port, &udp->dest, sizeof(udp->dest));
	pinhole = bpf_map_lookup_elem(&pinholes, &f->to);
	if (!pinhole)
		return REASON_PASS_NO_PINHOLE;
	if (pinhole->scope == SCOPE_PORT)
		return REASON_REDIRECT_PINHOLE;
	return classify_vxlan(f, length - sizeof(*udp));
}

static __always_inline int classify(struct frame *f)
{
	__be16 type;
	int reason = parse_ethernet(f, &type);

	if (reason != GO_ON)
		return reason;
	if (type == bpf_htons(ETH_P_IP))
		reason = parse_ipv4(f);
	else if (type == bpf_htons(ETH_P_IPV6))
		reason = parse_ipv6(f);
	else
		return REASON_PASS_NOT_IP;
	if (reason != GO_ON)
		return reason;
	if (f->fragmentation == LATER_FRAGMENT)
		return follow_first_fragment(f);
	return classify_udp(f);
}

static __always_inline void count(__u32 reason, __u32 bytes)
{
	struct counter *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

SEC("xdp.frags")
int nsm_classifier(struct xdp_md *ctx)
{
	__u32 length = frame_length(ctx);
	struct frame f = {
		.pos = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.left = length,
	};
	int reason = classify(&f);
	int verdict = XDP_PASS;

	if (reason <= REASON_LAST_REDIRECT) {
		// Answers XDP_PASS if the queue has no socket.
		verdict = bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
		if (verdict != XDP_REDIRECT)
			reason = REASON_PASS_NO_SOCKET;
	}
	if (f.fragmentation == FIRST_FRAGMENT)
		remember_first_fragment(&f, verdict);
	count(reason, length);
	return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
