// SPDX-License-Identifier: Apache-2.0

package netstack_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/nsm-afxdp/forwarder/internal/inetd"
	"github.com/nsm-afxdp/forwarder/pkg/memif"
)

// stranger is the far end of a stack's memif, with the client's addresses.
type stranger struct {
	mode memif.Mode
	conn *memif.Conn
	to   net.HardwareAddr
}

// strangerTo makes an endpoint's stack with services, and what is at the other end of it.
func strangerTo(t testing.TB, mode memif.Mode) *stranger {
	t.Helper()
	at := socket()
	endpoint := master(t, at, mode)
	_, config := configs(1446)
	require.NoError(t, endpoint.Configure(config))
	services, err := inetd.Serve(endpoint)
	require.NoError(t, err)
	t.Cleanup(services.Close)
	iface, err := memif.Slave(memif.Address{Socket: at}, memif.Config{Mode: mode})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, iface.Close()) })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := iface.Connect(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &stranger{mode: mode, conn: conn, to: endpoint.HardwareAddr()}
}

var strangerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// frame puts a link-layer header before an IP packet, if the mode has one.
func (s *stranger) frame(packet []byte) []byte {
	if s.mode == memif.IP {
		return packet
	}
	kind := []byte{0x08, 0}
	if len(packet) > 0 && packet[0]>>4 == 6 {
		kind = []byte{0x86, 0xdd}
	}
	return append(append(append(append([]byte{}, s.to...), strangerMAC...), kind...), packet...)
}

// exchange sends frames until something comes back for which match is true.
func (s *stranger) exchange(t testing.TB, match func([]byte) bool, frames ...[]byte) {
	t.Helper()
	var packets []memif.Packet
	for _, f := range frames {
		packets = append(packets, memif.Packet{Data: f})
	}
	var views [64]memif.Packet
	rx, tx := s.conn.Rx()[0], s.conn.Tx()[0]
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		tx.Send(packets)
		for range 1000 {
			n := rx.Receive(views[:])
			found := false
			for _, v := range views[:n] {
				found = found || match(v.Data)
			}
			rx.Release()
			if found {
				return
			}
			if n == 0 {
				time.Sleep(10 * time.Microsecond)
			}
		}
		require.NoError(t, s.conn.Err())
	}
	t.Fatal("the stack does not answer any more")
}

// arpRequest asks for the endpoint (RFC 826).
func arpRequest(to net.HardwareAddr) []byte {
	f := append(append([]byte{}, to...), strangerMAC...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(append(f, strangerMAC...), clientV4.AsSlice()...)
	return append(append(f, 0, 0, 0, 0, 0, 0), endpointV4.AsSlice()...)
}

// alive checks that the stack answers.
func (s *stranger) alive(t testing.TB) {
	t.Helper()
	if s.mode == memif.Ethernet {
		s.exchange(t, func(f []byte) bool { return len(f) >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 },
			arpRequest(net.HardwareAddr{255, 255, 255, 255, 255, 255}))
		return
	}
	s.exchange(t, func(p []byte) bool { return len(p) >= 28 && p[0] == 0x45 && p[9] == 1 && p[20] == 0 }, echoRequest())
}

func ipv4Packet(protocol tcpip.TransportProtocolNumber, payload []byte) []byte {
	p := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
	header.IPv4(p).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(p) + len(payload)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(clientV4.As4()), DstAddr: tcpip.AddrFrom4(endpointV4.As4()),
	})
	header.IPv4(p).SetChecksum(^header.IPv4(p).CalculateChecksum())
	return append(p, payload...)
}

func ipv6Packet(protocol tcpip.TransportProtocolNumber, from, to netip.Addr, payload []byte) []byte {
	p := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(payload))
	header.IPv6(p).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: protocol, HopLimit: 255,
		SrcAddr: tcpip.AddrFrom16(from.As16()), DstAddr: tcpip.AddrFrom16(to.As16()),
	})
	return append(p, payload...)
}

func echoRequest() []byte {
	m := make([]byte, 16)
	m[0] = 8
	header.ICMPv4(m).SetChecksum(^checksum.Checksum(m, 0))
	return ipv4Packet(header.ICMPv4ProtocolNumber, m)
}

// correct makes the checksums of a packet right, so that it is looked at.
func correct(packet []byte) []byte {
	p := append([]byte(nil), packet...)
	switch {
	case len(p) >= header.IPv4MinimumSize && p[0]>>4 == 4:
		h := header.IPv4(p)
		size := int(h.HeaderLength())
		if size < header.IPv4MinimumSize || size > len(p) {
			return p
		}
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		transport(p[size:], tcpip.TransportProtocolNumber(h.Protocol()), h.SourceAddress(), h.DestinationAddress())
	case len(p) >= header.IPv6MinimumSize && p[0]>>4 == 6:
		h := header.IPv6(p)
		transport(p[header.IPv6MinimumSize:], h.TransportProtocol(), h.SourceAddress(), h.DestinationAddress())
	}
	return p
}

func transport(b []byte, protocol tcpip.TransportProtocolNumber, from, to tcpip.Address) {
	at, sum := 0, header.PseudoHeaderChecksum(protocol, from, to, uint16(len(b)))
	switch protocol {
	case header.TCPProtocolNumber:
		at = header.TCPChecksumOffset
	case header.UDPProtocolNumber:
		at = 6
	case header.ICMPv4ProtocolNumber:
		at, sum = 2, 0
	case header.ICMPv6ProtocolNumber:
		at = 2
	default:
		return
	}
	if len(b) < at+2 {
		return
	}
	b[at], b[at+1] = 0, 0
	checksum.Put(b[at:], ^checksum.Checksum(b, sum))
}

// FuzzPackets sends packets with right checksums, whatever else they are, to a stack
// that serves: it must go on answering.
func FuzzPackets(f *testing.F) {
	syn := make([]byte, 24)
	header.TCP(syn).Encode(&header.TCPFields{SrcPort: 5000, DstPort: 7, SeqNum: 1, DataOffset: 24, Flags: header.TCPFlagSyn, WindowSize: 1000})
	copy(syn[20:], []byte{2, 4, 5, 0xb4})
	datagram := make([]byte, 12)
	header.UDP(datagram).Encode(&header.UDPFields{SrcPort: 5000, DstPort: 7, Length: 12})
	solicitation := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, endpointV6.AsSlice()...)
	solicitation = append(append(solicitation, 1, 1), strangerMAC...)
	fragment := ipv4Packet(header.UDPProtocolNumber, make([]byte, 24))
	fragment[6] = 0x20 // more fragments
	options := append([]byte{0x46}, ipv4Packet(header.ICMPv4ProtocolNumber, append([]byte{7, 4, 4, 0}, make([]byte, 16)...))[1:]...)
	for _, seed := range [][]byte{
		echoRequest(), ipv4Packet(header.TCPProtocolNumber, syn), ipv4Packet(header.UDPProtocolNumber, datagram), fragment, options,
		ipv6Packet(header.ICMPv6ProtocolNumber, clientV6, endpointV6, solicitation),
		ipv6Packet(header.TCPProtocolNumber, clientV6, endpointV6, syn),
		ipv6Packet(44, clientV6, endpointV6, append([]byte{17, 0, 0, 1, 0, 0, 0, 1}, datagram...)), // the first of two fragments
		ipv6Packet(0, clientV6, endpointV6, append([]byte{17, 0, 5, 2, 0, 0, 1, 0}, datagram...)),  // a hop-by-hop option
		nil, {0x45}, {0x60},
	} {
		f.Add(seed)
	}
	ethernet, ip := strangerTo(f, memif.Ethernet), strangerTo(f, memif.IP)
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) > 1446 {
			return
		}
		for _, s := range []*stranger{ethernet, ip} {
			for _, p := range [][]byte{packet, correct(packet)} {
				s.conn.Tx()[0].Send([]memif.Packet{{Data: s.frame(p)}})
			}
			s.alive(t)
		}
	})
}
