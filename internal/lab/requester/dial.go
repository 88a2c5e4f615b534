// SPDX-License-Identifier: Apache-2.0

package requester

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
	memifmech "github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/memif"
	payloads "github.com/networkservicemesh/api/pkg/api/networkservice/payload"

	"github.com/nsm-afxdp/forwarder/internal/netns"
	"github.com/nsm-afxdp/forwarder/internal/netstack"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
	"github.com/nsm-afxdp/forwarder/pkg/networkservice/connectioncontext"
)

// Dial is a UDP socket from the pod's end of a connection to an address: one of Linux, or
// on a memif one of an IP stack in this process, which ends with the socket.
func (p *Pod) Dial(ctx context.Context, conn *networkservice.Connection, to netip.AddrPort) (udp net.Conn, err error) {
	if m := memifmech.ToMechanism(conn.GetMechanism()); m != nil {
		return p.dialMemif(ctx, conn, m.GetSocketFilename(), to)
	}
	err = netns.Do(p.Path, func() error {
		udp, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	return udp, err
}

func (p *Pod) dialMemif(ctx context.Context, conn *networkservice.Connection, socket string, to netip.AddrPort) (_ net.Conn, err error) {
	mode := memif.Ethernet
	if conn.GetPayload() == payloads.IP {
		mode = memif.IP
	}
	config, err := connectioncontext.ClientConfig(conn.GetContext())
	if err != nil {
		return nil, err
	}
	iface, err := memif.Slave(memif.Address{Socket: socket, NetNS: p.Path}, memif.Config{Mode: mode, Name: conn.GetId()})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	stack, err := netstack.New(netstack.Options{Interface: iface, Mode: mode, Seed: conn.GetId()})
	if err != nil {
		_ = iface.Close()
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = stack.Close()
		}
	}()
	if err := stack.Configure(config); err != nil {
		return nil, err
	}
	udp, err := stack.DialContext(ctx, "udp", to.String())
	if err != nil {
		return nil, err
	}
	return &stackConn{Conn: udp, stack: stack}, nil
}

// stackConn is a socket with a stack of its own.
type stackConn struct {
	net.Conn
	stack *netstack.Stack
}

func (c *stackConn) Close() error {
	err := c.Conn.Close()
	if stackErr := c.stack.Close(); err == nil {
		err = stackErr
	}
	return err
}
