// SPDX-License-Identifier: Apache-2.0

// Package payload names what a network service carries.
package payload

const (
	// Ethernet frames; the remote mechanism is VXLAN.
	Ethernet = "ETHERNET"
	// IP packets; the remote mechanism is WireGuard.
	IP = "IP"
)
