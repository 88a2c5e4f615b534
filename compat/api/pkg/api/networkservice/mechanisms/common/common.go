// SPDX-License-Identifier: Apache-2.0

// Package common names the mechanism parameters that several mechanisms share.
package common

const (
	// SrcIP is the tunnel address of the client's side.
	SrcIP = "src_ip"
	// DstIP is the tunnel address of the endpoint's side.
	DstIP = "dst_ip"
	// SrcPort is the UDP port on which the client's side listens.
	SrcPort = "src_port"
	// DstPort is the UDP port on which the endpoint's side listens.
	DstPort = "dst_port"
	// SrcOriginalIP is SrcIP before it was translated between domains.
	SrcOriginalIP = "orig_src_ip"
	// DstOriginalIP is DstIP before it was translated between domains.
	DstOriginalIP = "orig_dst_ip"
	// NetNSInodeKey is the inode number of a network namespace.
	NetNSInodeKey = "netnsInode"
	// InterfaceNameKey is the name of the interface in the pod.
	InterfaceNameKey = "name"
	// InodeURL is a file:// URL within a process and an inode:// URL between
	// processes, where the descriptor itself travels beside the message.
	InodeURL = "inodeURL"
	// PCIAddressKey is the PCI address of an SR-IOV function.
	PCIAddressKey = "pciAddress"
	// DeviceTokenIDKey is the id of the token that a device was given out under.
	DeviceTokenIDKey = "tokenID"
	// MTU is the largest packet in bytes that fits through the tunnel.
	MTU = "MTU"
)
