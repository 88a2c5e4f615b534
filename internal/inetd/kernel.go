// SPDX-License-Identifier: Apache-2.0

package inetd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Kernel is the network of the kernel, at one address. The address need not be there
// yet, or all the time.
type Kernel netip.Addr

func (k Kernel) at(port uint16) string { return netip.AddrPortFrom(netip.Addr(k), port).String() }

// ListenTCP needs CAP_NET_BIND_SERVICE for ports below 1024, or the pod's
// net.ipv4.ip_unprivileged_port_start.
func (k Kernel) ListenTCP(port uint16) (net.Listener, error) {
	return (&net.ListenConfig{Control: freeBind}).Listen(context.Background(), "tcp", k.at(port))
}

// ListenUDP is like ListenTCP.
func (k Kernel) ListenUDP(port uint16) (net.PacketConn, error) {
	return (&net.ListenConfig{Control: freeBind}).ListenPacket(context.Background(), "udp", k.at(port))
}

// freeBind lets a socket listen at an address that the pod will only have once the
// forwarder has made the interface.
func freeBind(network, _ string, conn syscall.RawConn) error {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if network == "tcp6" || network == "udp6" {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("listen at an address that is not there yet: %w", failed)
	}
	return nil
}
