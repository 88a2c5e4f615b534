// SPDX-License-Identifier: Apache-2.0

package networkservice

import (
	"fmt"
	"strconv"
	"strings"
)

// PortRange is a range of TCP or UDP ports, both ends included.
type PortRange struct {
	Start uint16
	End   uint16
}

// ParsePortRange parses "start-end" or a single port. The empty string is every
// port: nil without an error. The ends are not compared.
func ParsePortRange(portRange string) (*PortRange, error) {
	if portRange == "" {
		return nil, nil
	}
	first, last, isRange := strings.Cut(portRange, "-")
	if !isRange {
		last = first
	}
	start, err := parsePort(first)
	if err != nil {
		return nil, fmt.Errorf("parse port range %q: %w", portRange, err)
	}
	end, err := parsePort(last)
	if err != nil {
		return nil, fmt.Errorf("parse port range %q: %w", portRange, err)
	}
	return &PortRange{Start: start, End: end}, nil
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	return uint16(port), err
}
