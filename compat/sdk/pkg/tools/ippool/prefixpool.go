// SPDX-License-Identifier: Apache-2.0

package ippool

import (
	"fmt"
	"net"
)

// PrefixPool is a set of prefixes of both families.
type PrefixPool struct {
	ip4, ip6 *IPPool
}

// NewPool returns a set that holds prefixes.
func NewPool(prefixes ...string) (*PrefixPool, error) {
	pool := &PrefixPool{ip4: New(net.IPv4len), ip6: New(net.IPv6len)}
	if err := pool.AddPrefixes(prefixes...); err != nil {
		return nil, err
	}
	return pool, nil
}

// AddPrefixes adds prefixes; at the first that does not parse it stops with an error.
func (pool *PrefixPool) AddPrefixes(prefixes ...string) error {
	return pool.each(prefixes, (*IPPool).AddNet)
}

// ExcludePrefixes takes prefixes out; at the first that does not parse it stops
// with an error.
func (pool *PrefixPool) ExcludePrefixes(prefixes ...string) error {
	return pool.each(prefixes, (*IPPool).Exclude)
}

// GetPrefixes returns the content as the shortest list, IPv4 first.
func (pool *PrefixPool) GetPrefixes() []string {
	return append(pool.ip4.GetPrefixes(), pool.ip6.GetPrefixes()...)
}

func (pool *PrefixPool) each(prefixes []string, f func(*IPPool, *net.IPNet)) error {
	for _, prefix := range prefixes {
		_, ipNet, err := net.ParseCIDR(prefix)
		if err != nil {
			return fmt.Errorf("parse prefix: %w", err)
		}
		f(pool.ip4, ipNet)
		f(pool.ip6, ipNet)
	}
	return nil
}
