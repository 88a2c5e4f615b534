// SPDX-License-Identifier: Apache-2.0

// Package classifier puts an XDP program on an uplink that sends the frames of
// our tunnels to AF_XDP sockets and leaves everything else to Linux.
//
// A frame is ours if it is UDP to an address and port with an open [Pinhole], or
// carries an 802.1Q id that is held with [Classifier.OpenVLAN]. All that is not
// recognised, damaged, or meant for a queue without a socket goes to
// Linux. bpf/README.md describes the program and its maps.
//
// The program is attached with a BPF link. With [Config.PinDir] the link and
// the maps are pinned, so that they outlive the process and the next one takes
// over without a gap.
//
// It needs Linux 5.9 and the capabilities BPF, NET_ADMIN, and PERFMON: the
// program reads headers at offsets that it computes, which the verifier allows
// to nobody else. The names of other people's programs are told with SYS_ADMIN
// only.
package classifier

//go:generate ../../bpf/generate.sh .
