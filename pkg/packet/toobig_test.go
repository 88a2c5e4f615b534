// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

func TestTooBig(t *testing.T) {
	for _, p := range variants() {
		p.payload = bytesOf(2000)
		b := p.build()
		network, _, _ := p.offsets()
		dst := make([]byte, MaxTooBigLen)
		n := TooBig(dst, b, p.link, network+1400)
		if n == 0 {
			t.Fatalf("%v: no answer", p)
		}
		answer := dst[:n]
		if p.link == Ethernet && (!bytes.Equal(answer[:6], b[6:12]) || !bytes.Equal(answer[6:12], b[:6]) || !bytes.Equal(answer[12:network], b[12:network])) {
			t.Errorf("%v: link header % x", p, answer[:network])
		}
		ip := answer[network:]
		if !p.v6 {
			if !bytes.Equal(ip[12:16], b[network+16:network+20]) || !bytes.Equal(ip[16:20], b[network+12:network+16]) {
				t.Errorf("%v: addresses % x", p, ip[12:20])
			}
			if checksum.Checksum(ip[:20], 0) != 0xffff || checksum.Checksum(ip[20:], 0) != 0xffff {
				t.Errorf("%v: checksums", p)
			}
			if ip[20] != 3 || ip[21] != 4 || binary.BigEndian.Uint16(ip[26:]) != 1400 || len(ip) != 576 || !bytes.Equal(ip[28:], b[network:][:548]) {
				t.Errorf("%v: % x", p, ip[:30])
			}
			continue
		}
		if transportSum(answer, network, network+40, protoICMP6) != 0xffff {
			t.Errorf("%v: checksum", p)
		}
		if ip[40] != 2 || ip[41] != 0 || binary.BigEndian.Uint32(ip[44:]) != 1400 || len(ip) != 1280 || !bytes.Equal(ip[48:], b[network:][:1232]) {
			t.Errorf("%v: % x", p, ip[:50])
		}
	}
}

func TestWhatIsNotAnswered(t *testing.T) {
	v4, v6 := tcpPacket{payload: bytesOf(100)}, tcpPacket{v6: true, payload: bytesOf(100)}
	set := func(b []byte, at int, values ...byte) []byte {
		copy(b[EthernetLen+at:], values)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"ARP", set(v4.build(), -2, 8, 6)},
		{"to many by Ethernet", set(v4.build(), -EthernetLen, 1)},
		{"to many by IPv4", set(v4.build(), 16, 224)},
		{"to all", set(v4.build(), 16, 255, 255, 255, 255)},
		{"from nobody", set(v4.build(), 12, 0, 0, 0, 0)},
		{"a later fragment", set(v4.build(), 7, 1)},
		{"an ICMP error", set(v4.build(), 9, 1, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2, 3)},
		{"an ICMPv6 error", set(set(v6.build(), 6, 58), 40, 1)},
		{"to many by IPv6", set(v6.build(), 24, 0xff)},
		{"from the unspecified address", set(v6.build(), 8, make([]byte, 16)...)},
	} {
		if n := TooBig(make([]byte, MaxTooBigLen), c.b, Ethernet, 1400); n != 0 {
			t.Errorf("%s: answered", c.name)
		}
	}
	echo := set(v4.build(), 9, 1, 0, 0, 10, 7, 0, 1, 10, 7, 0, 2, 8)
	if TooBig(make([]byte, MaxTooBigLen), echo, Ethernet, 1400) == 0 {
		t.Error("an echo request is not answered")
	}
}

func FuzzTooBig(f *testing.F) {
	for _, p := range variants() {
		p.payload = bytesOf(100)
		f.Add(p.build(), byte(p.link), uint16(1400))
	}
	f.Fuzz(func(t *testing.T, b []byte, link byte, limit uint16) {
		if n := TooBig(make([]byte, MaxTooBigLen), b, Link(link&1), int(limit)); n > MaxTooBigLen {
			t.Fatalf("answer of %d bytes", n)
		}
	})
}
