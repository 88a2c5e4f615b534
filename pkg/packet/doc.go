// SPDX-License-Identifier: Apache-2.0

// Package packet knows headers: it reads and writes the tunnel packets of the
// underlay, and splits and joins the TCP and UDP packets inside of them. All of
// it works on byte slices of the caller, allocates nothing, and believes no
// length that it has not checked.
//
// A packet on its way out is met in this order:
//
//  1. Offload, the virtio-net header that the kernel puts in front of what a
//     pod sends: says what is left to do.
//  2. Segmenter cuts what is larger than the MTU, or FinishChecksum finishes
//     the checksum of what is not.
//  3. FlowHash and SourcePort give the tunnel packet its UDP source port.
//  4. Outer stamps Ethernet, IP, UDP and VXLAN headers in front.
//  5. Outer.Fragment cuts what the underlay does not take as a whole.
//
// And on its way in:
//
//  1. ParseDatagram reads and verifies Ethernet, IP and UDP; Piece reads fragments.
//  2. ParseVXLAN reads the VXLAN header.
//  3. Coalescer finds the TCP segments of a burst that make one large packet, and
//     the UDP datagrams that make one train.
package packet

// Link says what a packet begins with.
type Link uint8

// The two links of NSM's payloads.
const (
	// Ethernet packets are whole frames, without frame check sequence.
	Ethernet Link = iota
	// IP packets begin with the IP header.
	IP
)

// Numbers of the headers.
const (
	// EthernetLen is the length of an Ethernet header without VLAN tags.
	EthernetLen = 14
	// TagLen is the length of a VLAN tag (IEEE 802.1Q).
	TagLen = 4
	// IPv4Len is the length of an IPv4 header without options.
	IPv4Len = 20
	// IPv6Len is the length of an IPv6 header.
	IPv6Len = 40
	// UDPLen is the length of a UDP header.
	UDPLen = 8
	// VXLANLen is the length of a VXLAN header (RFC 7348, section 5).
	VXLANLen = 8
	// VXLANPort is the UDP port of VXLAN.
	VXLANPort = 4789

	tcpLen  = 20
	icmpLen = 8

	typeIPv4   = 0x0800
	typeIPv6   = 0x86dd
	typeVLAN   = 0x8100
	typeQinQ   = 0x88a8
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58

	// maxTags is how many VLAN tags may stand before the network header.
	maxTags = 2
	// ttl is the hop limit of what we send.
	ttl = 64
)
