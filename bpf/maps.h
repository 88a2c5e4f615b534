// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause

// The maps by which user space steers the classifier. README.md has the table.

#ifndef NSM_MAPS_H
#define NSM_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "limits.h"
#include "types.h"

// The name that libxdp, DPDK and VPP look for.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);   // receive queue
	__type(value, __u32); // AF_XDP socket
} xsks_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PINHOLES);
	__type(key, struct pinhole_key);
	__type(value, struct pinhole);
} pinholes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VNIS);
	__type(key, struct vni_key);
	__type(value, __u8);
} vnis SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_VLANS);
	__type(key, __u16); // VLAN id, host order
	__type(value, __u8);
} vlans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTS);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, enum reason);
	__type(value, struct counter);
} counters SEC(".maps");

#endif
