// SPDX-License-Identifier: Apache-2.0

// Package vlan is the mechanism that carries a connection in an 802.1Q VLAN of the
// node's uplink.
package vlan

import (
	"github.com/networkservicemesh/api/internal/param"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "VLAN"
	// ID is the VLAN id, in decimal.
	ID = "vlan-id"
)

// Mechanism gives access to the parameters of a VLAN mechanism. Its methods may be
// called on nil.
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

// GetParameters returns the parameters, never nil.
func (m *Mechanism) GetParameters() map[string]string { return m.params() }

// GetVlanID returns the VLAN id, 0 when it is unset or exceeds 12 bits.
func (m *Mechanism) GetVlanID() uint32 { return uint32(m.params().Uint(ID, 12)) }

// SetVlanID sets the VLAN id and returns m.
func (m *Mechanism) SetVlanID(vlanid uint32) *Mechanism {
	m.params().SetUint(ID, uint64(vlanid))
	return m
}

func (m *Mechanism) params() param.Set {
	if m == nil {
		return param.Set{}
	}
	return param.Of(m.Mechanism)
}
