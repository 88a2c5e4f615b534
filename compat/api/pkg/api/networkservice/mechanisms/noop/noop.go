// SPDX-License-Identifier: Apache-2.0

// Package noop is the mechanism of a connection that carries no packets.
package noop

import "github.com/networkservicemesh/api/pkg/api/networkservice"

// MECHANISM is the type of the mechanism.
const MECHANISM = "NOOP"

// Mechanism gives access to the parameters of a noop mechanism.
type Mechanism struct {
	*networkservice.Mechanism
}

// ToMechanism wraps m, nil when it is of another type.
func ToMechanism(m *networkservice.Mechanism) *Mechanism {
	if m.GetType() != MECHANISM {
		return nil
	}
	return &Mechanism{Mechanism: m}
}
