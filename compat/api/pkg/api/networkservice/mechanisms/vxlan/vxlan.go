// SPDX-License-Identifier: Apache-2.0

// Package vxlan is the mechanism that carries Ethernet frames between forwarders
// over VXLAN (RFC 7348).
package vxlan

import "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "VXLAN"

	// SrcIP and DstIP are the tunnel addresses of the client's and endpoint's side.
	SrcIP = common.SrcIP
	DstIP = common.DstIP
	// SrcPort and DstPort are the UDP ports on which they listen.
	SrcPort = common.SrcPort
	DstPort = common.DstPort
	// MTU is the largest packet in bytes that fits through the tunnel.
	MTU = common.MTU
	// VNI is the 24-bit VXLAN network identifier, in decimal.
	VNI = "vni"
)

// GetParameters returns the parameters, never nil.
func (m *Mechanism) GetParameters() map[string]string { return m.params() }
