// SPDX-License-Identifier: Apache-2.0

package netstack

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/nsm-afxdp/forwarder/internal/ping"
)

// echo sends echo requests by a route of the stack, which can be told not to fragment.
// It hears replies on a ping socket, put together if they were fragmented, and the
// errors of routers on a raw one.
type echo struct {
	stack        *Stack
	src, dst     netip.Addr // src may be invalid
	id           uint16
	dontFragment bool

	replies, errors tcpip.Endpoint
	queue           waiter.Queue
	entry           waiter.Entry
	readable        chan struct{}
	closing         sync.Once
	closed          chan struct{}
}

// echoBuffer is room for answers, in bytes.
const echoBuffer = 1 << 20

// Echo makes a ping.Conn from one of the stack's addresses, or whichever fits if src
// is not valid, to dst.
func (s *Stack) Echo(src, dst netip.Addr, dontFragment bool) (ping.Conn, error) {
	src, dst = src.Unmap(), dst.Unmap()
	e := &echo{stack: s, src: src, dst: dst, dontFragment: dontFragment, closed: make(chan struct{})}
	if src.IsValid() && src.Is4() != dst.Is4() {
		return nil, errors.New("not of one address family")
	}
	var failed tcpip.Error
	if e.replies, failed = s.ip.NewEndpoint(e.transport(), protocol(dst), &e.queue); failed != nil {
		return nil, fmt.Errorf("make an ICMP socket: %v", failed)
	}
	// The ping socket's port is the identifier, which the stack chooses.
	if failed = e.replies.Bind(tcpip.FullAddress{NIC: nicID, Addr: e.local()}); failed != nil {
		e.replies.Close()
		return nil, fmt.Errorf("bind to %s: %v", src, failed)
	}
	bound, _ := e.replies.GetLocalAddress()
	e.id = bound.Port
	if e.errors, failed = s.ip.NewRawEndpoint(e.transport(), protocol(dst), &e.queue, true); failed != nil {
		e.replies.Close()
		return nil, fmt.Errorf("make a raw ICMP socket: %v", failed)
	}
	for _, socket := range []tcpip.Endpoint{e.replies, e.errors} {
		socket.SocketOptions().SetReceiveBufferSize(echoBuffer, true)
		socket.SocketOptions().SetReceiveTTL(true)
		socket.SocketOptions().SetReceiveHopLimit(true)
	}
	e.entry, e.readable = waiter.NewChannelEntry(waiter.ReadableEvents)
	e.queue.EventRegister(&e.entry)
	return e, nil
}

// local is the source address, empty if any will do.
func (e *echo) local() tcpip.Address {
	if !e.src.IsValid() {
		return tcpip.Address{}
	}
	return address(e.src)
}

func (e *echo) transport() tcpip.TransportProtocolNumber {
	if e.dst.Is4() {
		return header.ICMPv4ProtocolNumber
	}
	return header.ICMPv6ProtocolNumber
}

func (e *echo) Send(sequence uint16, data []byte) error {
	route, failed := e.stack.ip.FindRoute(nicID, e.local(), address(e.dst), protocol(e.dst), false)
	if failed != nil {
		return &ping.UnreachableError{Reason: failed.String()}
	}
	defer route.Release()
	if mtu := int(e.stack.link.MTU()); e.dontFragment && len(data)+ping.HeaderSize(e.dst) > mtu {
		return &ping.TooLongError{MTU: mtu}
	}
	message := ping.AppendRequest(make([]byte, 0, len(data)+header.ICMPv6EchoMinimumSize), e.dst.Is6(), e.id, sequence, data)
	if e.dst.Is4() {
		ping.SetChecksum(message)
	} else {
		sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, route.LocalAddress(), route.RemoteAddress(), uint16(len(message)))
		header.ICMPv6(message).SetChecksum(^checksum.Checksum(message, sum))
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(message),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = e.transport()
	params := stack.NetworkHeaderParams{Protocol: e.transport(), TTL: route.DefaultTTL(), DF: e.dontFragment}
	return failure(route.WritePacket(params, pkt))
}

func (e *echo) Receive() (ping.Answer, error) {
	for {
		answer, ok, err := e.read(e.replies)
		if !ok && err == nil {
			answer, ok, err = e.read(e.errors)
		}
		if ok || err != nil {
			return answer, err
		}
		select {
		case <-e.readable:
		case <-e.closed:
			return ping.Answer{}, net.ErrClosed
		}
	}
}

// read returns false when nothing waits at the socket that answers a request of ours.
func (e *echo) read(socket tcpip.Endpoint) (ping.Answer, bool, error) {
	for {
		var packet into
		result, failed := socket.Read(&packet, tcpip.ReadOptions{NeedRemoteAddr: true})
		switch failed.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			return ping.Answer{}, false, nil
		default:
			return ping.Answer{}, false, failure(failed)
		}
		if answer, ok := e.parse(packet, socket == e.errors, result); ok {
			return answer, true, nil
		}
	}
}

func (e *echo) parse(packet []byte, raw bool, result tcpip.ReadResult) (ping.Answer, bool) {
	if ip := header.IPv4(packet); raw && e.dst.Is4() {
		if len(ip) < header.IPv4MinimumSize || len(ip) < int(ip.HeaderLength()) {
			return ping.Answer{}, false
		}
		packet = packet[ip.HeaderLength():]
	}
	answer, id, ok := ping.ParseAnswer(packet, e.dst.Is6())
	if !ok || id != e.id || raw != (answer.Err != nil) {
		return ping.Answer{}, false
	}
	answer.TTL = int(max(result.ControlMessages.TTL, result.ControlMessages.HopLimit))
	answer.From, _ = netip.AddrFromSlice(result.RemoteAddr.Addr.AsSlice())
	return answer, raw || answer.From == e.dst
}

func (e *echo) Close() error {
	e.closing.Do(func() {
		close(e.closed)
		e.queue.EventUnregister(&e.entry)
		e.replies.Close()
		e.errors.Close()
	})
	return nil
}

// into is an io.Writer that keeps what is written.
type into []byte

var _ io.Writer = (*into)(nil)

func (i *into) Write(p []byte) (int, error) {
	*i = append(*i, p...)
	return len(p), nil
}
