// SPDX-License-Identifier: Apache-2.0

package ipsec

import (
	"net"

	"github.com/networkservicemesh/api/internal/param"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// Mechanism gives access to the parameters of a IPsec mechanism. Its methods may be
// called on nil; numbers that are unset or do not parse are 0, addresses nil.
type Mechanism struct {
	*networkservice.Mechanism
}

// ToMechanism wraps m, nil when it is of another type.
func ToMechanism(m *networkservice.Mechanism) *Mechanism {
	if m.GetType() != MECHANISM {
		return nil
	}
	param.Of(m)
	return &Mechanism{Mechanism: m}
}

// SrcIP returns the tunnel address of the client's side.
func (m *Mechanism) SrcIP() net.IP { return m.params().IP(SrcIP) }

// SetSrcIP sets the tunnel address of the client's side and returns m.
func (m *Mechanism) SetSrcIP(ip net.IP) *Mechanism {
	m.params().SetIP(SrcIP, ip)
	return m
}

// DstIP returns the tunnel address of the endpoint's side.
func (m *Mechanism) DstIP() net.IP { return m.params().IP(DstIP) }

// SetDstIP sets the tunnel address of the endpoint's side and returns m.
func (m *Mechanism) SetDstIP(ip net.IP) *Mechanism {
	m.params().SetIP(DstIP, ip)
	return m
}

// SrcPort returns the UDP port on which the client's side listens.
func (m *Mechanism) SrcPort() uint16 { return uint16(m.params().Uint(SrcPort, 16)) }

// SetSrcPort sets the UDP port on which the client's side listens and returns m.
func (m *Mechanism) SetSrcPort(port uint16) *Mechanism {
	m.params().SetUint(SrcPort, uint64(port))
	return m
}

// DstPort returns the UDP port on which the endpoint's side listens.
func (m *Mechanism) DstPort() uint16 { return uint16(m.params().Uint(DstPort, 16)) }

// SetDstPort sets the UDP port on which the endpoint's side listens and returns m.
func (m *Mechanism) SetDstPort(port uint16) *Mechanism {
	m.params().SetUint(DstPort, uint64(port))
	return m
}

// MTU returns the largest packet in bytes that fits through the tunnel.
func (m *Mechanism) MTU() uint32 { return uint32(m.params().Uint(MTU, 32)) }

// SetMTU sets the largest packet in bytes that fits through the tunnel and returns m.
func (m *Mechanism) SetMTU(mtu uint32) *Mechanism {
	m.params().SetUint(MTU, uint64(mtu))
	return m
}

func (m *Mechanism) params() param.Set {
	if m == nil {
		return param.Set{}
	}
	return param.Of(m.Mechanism)
}
