// SPDX-License-Identifier: Apache-2.0

package wireguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is where a peer is: its address and port, and ours that it talks to.
// It does not change once made, so that any number of packets share one.
type endpoint struct {
	remote, local netip.AddrPort
}

// ClearSrc is for sockets that cache a route; the source of ours is part of
// the tunnel.
func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return e.local.String() }
func (e *endpoint) DstToString() string { return e.remote.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.remote.Addr() }
func (e *endpoint) SrcIP() netip.Addr   { return e.local.Addr() }

// DstToBytes identifies the peer's address in cookies.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.remote.MarshalBinary() // cannot fail
	return b
}

// bind is the conn.Bind of one tunnel.
type bind struct{ t *Tunnel }

func (b bind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.t.inbox.start()
	return []conn.ReceiveFunc{b.receive}, b.t.config.Local.Port(), nil
}

// receive is the device's ReceiveFunc.
func (b bind) receive(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	opening := b.t.device.opening
	opening.wait()
	n, err := b.t.inbox.fetch(packets, sizes, eps)
	data := 0
	for i, size := range sizes[:n] {
		if carriesPacket(packets[i][:size]) {
			data++
		}
	}
	opening.in(data)
	return n, err
}

// carriesPacket tells transport data from handshakes and keepalives.
func carriesPacket(datagram []byte) bool {
	return len(datagram) > transportMinSize && datagram[0] == byte(transport)
}

func (b bind) Close() error {
	b.t.inbox.stop()
	return nil
}

// SetMark has no meaning without a socket.
func (b bind) SetMark(uint32) error { return nil }

func (b bind) BatchSize() int { return b.t.hub.config.BatchSize }

func (b bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	remote, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	return b.t.endpoint(remote, b.t.config.Local), nil
}

// Send passes a burst on as it is, and reads from it by which index the peer
// will answer and whether a session has begun.
func (b bind) Send(datagrams [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	t := b.t
	if t.sentTo.Load() != e {
		t.sentTo.Store(e)
		t.hub.moved(t, e.remote.Addr())
	}
	// Initiations come alone.
	if kind(binary.LittleEndian.Uint32(datagrams[0])) == initiation && t.keep(e, datagrams[0]) {
		return nil
	}
	data := 0
	for _, d := range datagrams {
		if carriesPacket(d) {
			data++
		}
		switch k := kind(binary.LittleEndian.Uint32(d)); k {
		case transport:
			if peer := binary.LittleEndian.Uint32(d[receiverOffset:]); uint64(peer) != t.peerIndex.Load() {
				t.peerIndex.Store(uint64(peer))
				t.begun()
			}
		case initiation, response:
			t.sent(k, d)
			if k == response {
				t.keepAlive()
			}
		}
	}
	t.device.sealing.out(data)
	return t.transmit(e, datagrams)
}

// errTransport is wrapped by errors of Transport. They reach us through the
// device too, and pass sooner or later: a next hop appears, a ring drains.
var errTransport = errors.New("send")

func (t *Tunnel) transmit(to *endpoint, datagrams [][]byte) error {
	err := t.hub.transport.Send(to.local, to.remote, datagrams)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w to %s: %w", errTransport, to.remote, err)
	t.sendErrors.Add(1)
	t.sendError.Store(&err)
	return err
}
