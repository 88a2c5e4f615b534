// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"fmt"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// tcpPacket describes a packet for tests, which is built with gVisor's
// checksums.
type tcpPacket struct {
	link    Link
	v6      bool
	tags    int
	options int // bytes of TCP options
	seq     uint32
	id      uint16
	flags   byte
	payload []byte
	udp     bool
	source  uint16
	ack     uint32
	window  uint16
}

func (p tcpPacket) String() string {
	return fmt.Sprintf("link %d, v6 %v, %d tags, %d bytes of options, udp %v", p.link, p.v6, p.tags, p.options, p.udp)
}

func (p tcpPacket) build() []byte {
	var b []byte
	if p.link == Ethernet {
		b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2)
		for i := range p.tags {
			b = append(b, 0x81, 0, 0, byte(i+1))
		}
		if p.v6 {
			b = append(b, 0x86, 0xdd)
		} else {
			b = append(b, 8, 0)
		}
	}
	network := len(b)
	l4 := make([]byte, tcpLen+p.options)
	proto := byte(protoTCP)
	if p.udp {
		l4, proto = make([]byte, UDPLen), protoUDP
	}
	if p.v6 {
		ip := make([]byte, IPv6Len)
		ip[0], ip[6], ip[7] = 6<<4, proto, 64
		copy(ip[8:], "\xfd\x07 one address")
		copy(ip[24:], "\xfd\x07 and another")
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)+len(p.payload)))
		b = append(b, ip...)
	} else {
		ip := make([]byte, IPv4Len)
		ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, proto
		copy(ip[12:], []byte{10, 7, 0, 1, 10, 7, 0, 2})
		binary.BigEndian.PutUint16(ip[2:], uint16(IPv4Len+len(l4)+len(p.payload)))
		binary.BigEndian.PutUint16(ip[4:], p.id)
		binary.BigEndian.PutUint16(ip[10:], ^checksum.Checksum(ip, 0))
		b = append(b, ip...)
	}
	transport := len(b)
	binary.BigEndian.PutUint16(l4, 1000+p.source)
	binary.BigEndian.PutUint16(l4[2:], 2000)
	if p.udp {
		binary.BigEndian.PutUint16(l4[4:], uint16(UDPLen+len(p.payload)))
	} else {
		binary.BigEndian.PutUint32(l4[4:], p.seq)
		binary.BigEndian.PutUint32(l4[8:], 77+p.ack)
		l4[12], l4[13] = byte(len(l4)/4)<<4, p.flags
		binary.BigEndian.PutUint16(l4[14:], 512+p.window)
		for i := range p.options {
			l4[tcpLen+i] = 1 // no operation
		}
	}
	b = append(append(b, l4...), p.payload...)
	at := transport + 16
	if p.udp {
		at = transport + 6
	}
	binary.BigEndian.PutUint16(b[at:], ^transportSum(b, network, transport, proto))
	return b
}

// transportSum is gVisor's sum over pseudo header and transport header, whose
// checksum counts as well if it is there.
func transportSum(b []byte, network, transport int, proto byte) uint16 {
	addrs := b[network+12 : network+20]
	if b[network]>>4 == 6 {
		addrs = b[network+8 : network+40]
	}
	sum := checksum.Checksum(addrs, uint16(proto))
	sum = checksum.Combine(sum, uint16(len(b)-transport))
	return checksum.Checksum(b[transport:], sum)
}

// valid fails the test unless the checksums of a packet are right.
func (p tcpPacket) valid(t testing.TB, b []byte) {
	t.Helper()
	network, transport, proto := p.offsets()
	if !p.v6 {
		if got := checksum.Checksum(b[network:transport], 0); got != 0xffff {
			t.Errorf("IP header sums up to %#x", got)
		}
		if got := int(binary.BigEndian.Uint16(b[network+2:])); got != len(b)-network {
			t.Errorf("IP length %d, want %d", got, len(b)-network)
		}
	} else if got := int(binary.BigEndian.Uint16(b[network+4:])); got != len(b)-network-IPv6Len {
		t.Errorf("IPv6 payload length %d, want %d", got, len(b)-network-IPv6Len)
	}
	if got := transportSum(b, network, transport, proto); got != 0xffff {
		t.Errorf("transport sums up to %#x", got)
	}
}

func (p tcpPacket) offsets() (network, transport int, proto byte) {
	if p.link == Ethernet {
		network = EthernetLen + p.tags*TagLen
	}
	transport = network + IPv4Len
	if p.v6 {
		transport = network + IPv6Len
	}
	proto = protoTCP
	if p.udp {
		proto = protoUDP
	}
	return network, transport, proto
}

// large makes the packet one that the kernel leaves to us: with the sum of the
// pseudo header only, and segments of size bytes.
func (p tcpPacket) large(size int) ([]byte, Offload) {
	b := p.build()
	network, transport, proto := p.offsets()
	o := Offload{Flags: NeedsChecksum, GSOType: GSOTCP4, GSOSize: uint16(size), CsumStart: uint16(transport), CsumOffset: 16}
	switch {
	case p.udp:
		o.GSOType, o.CsumOffset = GSOUDP, 6
	case p.v6:
		o.GSOType = GSOTCP6
	}
	addrs := b[network+12 : network+20]
	if p.v6 {
		addrs = b[network+8 : network+40]
	}
	sum := checksum.Combine(checksum.Checksum(addrs, uint16(proto)), uint16(len(b)-transport))
	binary.BigEndian.PutUint16(b[transport+int(o.CsumOffset):], sum)
	return b, o
}

// variants are packets of all shapes.
func variants() []tcpPacket {
	var all []tcpPacket
	for _, link := range []Link{Ethernet, IP} {
		for _, v6 := range []bool{false, true} {
			for tags := 0; tags <= 2; tags++ {
				if link == IP && tags > 0 {
					continue
				}
				for _, options := range []int{0, 12} {
					all = append(all, tcpPacket{link: link, v6: v6, tags: tags, options: options, seq: 0xfffff000, id: 0xfffe, flags: tcpACK})
				}
				all = append(all, tcpPacket{link: link, v6: v6, tags: tags, udp: true, id: 9})
			}
		}
	}
	return all
}

func bytesOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + i>>8)
	}
	return b
}
