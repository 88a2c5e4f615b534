// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// firstWGPort is WireGuard's customary UDP port. Linux gives each device a
	// port of its own: the first connection has this one, others the next that
	// are free.
	firstWGPort = 51820
	// reservation is how long a port is kept for a connection that is being
	// negotiated.
	reservation = time.Minute
)

// wgPort is a UDP port that was promised to a connection.
type wgPort struct {
	port  uint16
	until time.Time
}

// WireGuardPort is the UDP port to negotiate for a connection: the lowest from
// 51820 that is free on the node.
func (p *Plane) WireGuardPort(id string) (uint16, error) {
	if !p.wgDevices {
		return firstWGPort, nil // they share it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	used := make(map[uint16]bool)
	for other, r := range p.wgPorts {
		owner, joined := p.claims[udpClaim(r.port)]
		switch {
		case other == id && joined && owner == id:
			return r.port, nil
		case other == id:
			// Somebody else may have taken it meanwhile: it is looked at again.
		case joined || time.Now().Before(r.until):
			used[r.port] = true
		default:
			delete(p.wgPorts, other)
		}
	}
	for port := firstWGPort; port <= math.MaxUint16; port++ {
		if _, joined := p.claims[udpClaim(uint16(port))]; joined || used[uint16(port)] {
			continue
		}
		// A device has its port on all addresses of both families, as Go listens on
		// this one.
		switch err := bindable(p.netns, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port))); {
		case err == nil:
			p.wgPorts[id] = wgPort{uint16(port), time.Now().Add(reservation)}
			return uint16(port), nil
		case !errors.Is(err, unix.EADDRINUSE):
			return 0, fmt.Errorf("choose a UDP port for WireGuard: %w", err)
		}
	}
	return 0, fmt.Errorf("choose a UDP port for WireGuard: all from %d are taken", firstWGPort)
}
