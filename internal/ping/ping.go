// SPDX-License-Identifier: Apache-2.0

// Package ping asks hosts for a sign of life by ICMP echo (RFC 792, RFC 4443).
package ping

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Protocol numbers by which package icmp parses messages.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// Ask sends count echo requests from src to dst, spread over interval each, and returns
// nil as soon as one is answered. It fails when ctx ends before that. It runs in the
// network namespace of the calling process and needs neither root nor a capability
// where net.ipv4.ping_group_range includes the process, CAP_NET_RAW elsewhere.
func Ask(ctx context.Context, src, dst netip.Addr, count int, interval time.Duration) error {
	if src.Is4() != dst.Is4() {
		return fmt.Errorf("ping %s from %s: not of one address family", dst, src)
	}
	conn, raw, err := listen(src)
	if err != nil {
		return fmt.Errorf("ping %s from %s: %w", dst, src, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	e := echo{conn: conn, raw: raw, dst: dst, id: int(nextID.Add(1) & 0xffff)}
	answered := make(chan error, 1)
	go func() { answered <- e.await() }()
	// await ends with the read deadline at the latest.
	wait := func(err error) error {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-answered //nolint:errcheck // it says no more than that it has ended
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var sendErr error
	for sent := 0; ; {
		if sent < count {
			// A host that cannot be reached may be reachable the next time.
			sendErr = e.send(sent)
			sent++
		}
		select {
		case err := <-answered:
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return fmt.Errorf("ping %s from %s: %w", dst, src, errors.Join(err, sendErr))
			}
			return nil
		case <-ctx.Done():
			return wait(fmt.Errorf("ping %s from %s: %w", dst, src, errors.Join(context.Cause(ctx), sendErr)))
		case <-ticker.C:
		}
	}
}

// nextID tells the echoes of this process apart where the kernel does not do so.
var nextID atomic.Uint32

func init() { nextID.Store(uint32(os.Getpid()) << 4) }

// listen opens a ping socket, or a raw one where ping sockets are not allowed.
func listen(src netip.Addr) (conn *icmp.PacketConn, raw bool, err error) {
	ping, rawNetwork := "udp4", "ip4:icmp"
	if src.Is6() {
		ping, rawNetwork = "udp6", "ip6:ipv6-icmp"
	}
	conn, pingErr := icmp.ListenPacket(ping, src.String())
	if pingErr == nil {
		return conn, false, nil
	}
	conn, err = icmp.ListenPacket(rawNetwork, src.String())
	if err != nil {
		return nil, false, errors.Join(pingErr, err)
	}
	return conn, true, nil
}

type echo struct {
	conn *icmp.PacketConn
	raw  bool
	dst  netip.Addr
	id   int
}

func (e *echo) send(sequence int) error {
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: e.id, Seq: sequence, Data: []byte("nsm liveness")}}
	if e.dst.Is6() {
		message.Type = ipv6.ICMPTypeEchoRequest
	}
	packet, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	var to net.Addr = &net.UDPAddr{IP: e.dst.AsSlice(), Zone: e.dst.Zone()}
	if e.raw {
		to = &net.IPAddr{IP: e.dst.AsSlice(), Zone: e.dst.Zone()}
	}
	_, err = e.conn.WriteTo(packet, to)
	return err
}

// await returns nil with the first reply.
func (e *echo) await() error {
	buf := make([]byte, 1500)
	for {
		n, from, err := e.conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if e.isReply(buf[:n], from) {
			return nil
		}
	}
}

func (e *echo) isReply(packet []byte, from net.Addr) bool {
	protocol, reply := protocolICMP, icmp.Type(ipv4.ICMPTypeEchoReply)
	if e.dst.Is6() {
		protocol, reply = protocolICMPv6, ipv6.ICMPTypeEchoReply
	}
	message, err := icmp.ParseMessage(protocol, packet)
	if err != nil || message.Type != reply {
		return false
	}
	body, ok := message.Body.(*icmp.Echo)
	// A ping socket has an identifier of its own, which the kernel checks.
	if !ok || e.raw && body.ID != e.id {
		return false
	}
	addr, ok := address(from)
	return ok && addr == e.dst.WithZone("").Unmap()
}

func address(a net.Addr) (netip.Addr, bool) {
	var ip net.IP
	switch a := a.(type) {
	case *net.UDPAddr:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}
