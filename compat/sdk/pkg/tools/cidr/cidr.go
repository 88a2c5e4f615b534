// SPDX-License-Identifier: Apache-2.0

// Package cidr reads lists of IP networks and gives their first and last address.
package cidr

import (
	"fmt"
	"net"
	"strings"
)

// NetworkAddress returns the first address of ipNet.
func NetworkAddress(ipNet *net.IPNet) net.IP {
	return ipNet.IP.Mask(ipNet.Mask)
}

// BroadcastAddress returns the last address of ipNet, IPv4 or IPv6.
func BroadcastAddress(ipNet *net.IPNet) net.IP {
	last := NetworkAddress(ipNet)
	for i := range last {
		last[i] |= ^ipNet.Mask[i]
	}
	return last
}

// Groups is a list of groups of networks. In an environment variable it is
// written as "[a, b], c, [d]": brackets hold a group, a network outside of
// brackets is a group of its own.
type Groups [][]*net.IPNet

// Decode parses value; an empty one gives no groups. It implements the
// decoder of envconfig.
func (g *Groups) Decode(value string) error {
	*g = nil
	rest := strings.TrimSpace(value)
	if rest == "" {
		return nil
	}
	for {
		var group string
		if strings.HasPrefix(rest, "[") {
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return fmt.Errorf("parse networks %q: missing ]", value)
			}
			group, rest = rest[1:end], strings.TrimSpace(rest[end+1:])
		} else if end := strings.IndexByte(rest, ','); end >= 0 {
			group, rest = rest[:end], rest[end:]
		} else {
			group, rest = rest, ""
		}

		nets, err := parse(group)
		if err != nil {
			return fmt.Errorf("parse networks %q: %w", value, err)
		}
		*g = append(*g, nets)

		if rest == "" {
			return nil
		}
		if rest[0] != ',' {
			return fmt.Errorf("parse networks %q: a comma is missing before %q", value, rest)
		}
		rest = strings.TrimSpace(rest[1:])
	}
}

func parse(list string) ([]*net.IPNet, error) {
	var nets []*net.IPNet
	for _, s := range strings.Split(list, ",") {
		_, ipNet, err := net.ParseCIDR(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		nets = append(nets, ipNet)
	}
	return nets, nil
}
