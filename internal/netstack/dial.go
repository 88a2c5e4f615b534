// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// DialContext connects to an address and a port by "tcp" or "udp". The address is no
// name.
func (s *Stack) DialContext(ctx context.Context, network, to string) (net.Conn, error) {
	remote, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, to, err)
	}
	full := tcpip.FullAddress{NIC: nicID, Addr: address(remote.Addr()), Port: remote.Port()}
	switch network {
	case "tcp":
		conn, err := gonet.DialContextTCP(ctx, s.ip, full, protocol(remote.Addr()))
		if err != nil {
			return nil, fmt.Errorf("dial tcp %s: %w", to, err)
		}
		return conn, nil
	case "udp":
		conn, err := gonet.DialUDP(s.ip, nil, &full, protocol(remote.Addr()))
		if err != nil {
			return nil, fmt.Errorf("dial udp %s: %w", to, err)
		}
		return conn, nil
	}
	return nil, fmt.Errorf("dial %s: want tcp or udp", network)
}

// ListenTCP accepts connections to a port of all the stack's addresses.
func (s *Stack) ListenTCP(port uint16) (net.Listener, error) {
	// The IPv6 wildcard takes IPv4 in, too.
	listener, err := gonet.ListenTCP(s.ip, tcpip.FullAddress{NIC: nicID, Port: port}, header.IPv6ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp port %d: %w", port, err)
	}
	return listener, nil
}

// ListenUDP receives datagrams to a port of all the stack's addresses.
func (s *Stack) ListenUDP(port uint16) (net.PacketConn, error) {
	conn, err := gonet.DialUDP(s.ip, &tcpip.FullAddress{NIC: nicID, Port: port}, nil, header.IPv6ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("listen on udp port %d: %w", port, err)
	}
	return conn, nil
}
