// SPDX-License-Identifier: Apache-2.0

// Package wireguard is the mechanism that carries IP packets between forwarders over WireGuard.
package wireguard

import "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "WIREGUARD"

	// SrcIP and DstIP are the tunnel addresses of the client's and endpoint's side.
	SrcIP = common.SrcIP
	DstIP = common.DstIP
	// SrcPort and DstPort are the UDP ports on which they listen.
	SrcPort = common.SrcPort
	DstPort = common.DstPort
	// MTU is the largest packet in bytes that fits through the tunnel.
	MTU = common.MTU
	// SrcPublicKey and DstPublicKey are the base64 form of the 32-byte Curve25519 keys
	// of the client's and endpoint's side.
	SrcPublicKey = "src_public_key"
	DstPublicKey = "dst_public_key"
)

// SrcPublicKey returns the key of the client's side.
func (m *Mechanism) SrcPublicKey() string { return m.params()[SrcPublicKey] }

// SetSrcPublicKey sets the key of the client's side and returns m.
func (m *Mechanism) SetSrcPublicKey(key string) *Mechanism {
	m.params()[SrcPublicKey] = key
	return m
}

// DstPublicKey returns the key of the endpoint's side.
func (m *Mechanism) DstPublicKey() string { return m.params()[DstPublicKey] }

// SetDstPublicKey sets the key of the endpoint's side and returns m.
func (m *Mechanism) SetDstPublicKey(key string) *Mechanism {
	m.params()[DstPublicKey] = key
	return m
}
