// SPDX-License-Identifier: Apache-2.0

// Package param reads and writes the parameters of a mechanism, which are strings
// on the wire whatever they mean. A value that does not parse reads as zero.
package param

import (
	"net"
	"strconv"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// Set is a mechanism's parameters by key.
type Set map[string]string

// Of returns the parameters of m, making the map when m has none: what is set in it
// is set in m. For a nil m it is a map that nobody keeps.
func Of(m *networkservice.Mechanism) Set {
	if m == nil {
		return Set{}
	}
	if m.Parameters == nil {
		m.Parameters = make(map[string]string)
	}
	return m.Parameters
}

// IP returns nil when the parameter is missing or no address.
func (s Set) IP(key string) net.IP { return net.ParseIP(s[key]) }

// SetIP stores ip in its text form.
func (s Set) SetIP(key string, ip net.IP) { s[key] = ip.String() }

// Uint returns 0 when the parameter is missing, no decimal number, or does not fit
// into so many bits.
func (s Set) Uint(key string, bits int) uint64 {
	n, err := strconv.ParseUint(s[key], 10, bits)
	if err != nil {
		return 0
	}
	return n
}

// SetUint stores n in decimal.
func (s Set) SetUint(key string, n uint64) { s[key] = strconv.FormatUint(n, 10) }

// Bool returns false when the parameter is missing or no truth value.
func (s Set) Bool(key string) bool {
	b, err := strconv.ParseBool(s[key])
	return err == nil && b
}

// SetBool stores "true" or "false".
func (s Set) SetBool(key string, b bool) { s[key] = strconv.FormatBool(b) }
