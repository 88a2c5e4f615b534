// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

var underlay4 = Underlay{
	Destination: [6]byte{2, 1, 1, 1, 1, 1}, Source: [6]byte{2, 2, 2, 2, 2, 2},
	Local: netip.MustParseAddrPort("192.0.2.1:4789"), Remote: netip.MustParseAddrPort("192.0.2.2:4790"),
}

var underlay6 = Underlay{
	Destination: [6]byte{2, 1, 1, 1, 1, 1}, Source: [6]byte{2, 2, 2, 2, 2, 2},
	Local: netip.MustParseAddrPort("[2001:db8::1]:4789"), Remote: netip.MustParseAddrPort("[2001:db8::2]:4790"),
}

func stamped(o Outer, payload []byte, source uint16) []byte {
	f := make([]byte, o.Len()+len(payload))
	copy(f[o.Len():], payload)
	o.Stamp(f, source)
	return f
}

func TestStampAndParse(t *testing.T) {
	for _, u := range []Underlay{underlay4, underlay6} {
		for tags := range 3 {
			u.Tags = []uint16{100, 4094}[:tags]
			for _, length := range []int{14, 15, 1000, 1460} {
				payload := bytesOf(length)
				o := NewVXLAN(u, 0x123456)
				f := stamped(o, payload, 55555)
				var d Datagram
				if r := d.ParseDatagram(append(f, 0, 0, 0)); r != OK { // with padding
					t.Fatalf("%v, %d tags: %v", u.Local, tags, r)
				}
				if d.Source.Netip() != u.Local.Addr() || d.Destination.Netip() != u.Remote.Addr() ||
					d.SourcePort != 55555 || d.DestinationPort != 4790 || d.MAC != u.Source {
					t.Errorf("%+v", d)
				}
				vni, r := ParseVXLAN(f[d.Start:d.End])
				if vni != 0x123456 || r != OK || !bytes.Equal(f[d.Start+VXLANLen:d.End], payload) {
					t.Errorf("VNI %#x, %v", vni, r)
				}
				at := 12 + 4*tags
				if got := o.Overhead(); got != len(f)-len(payload)-at-2 {
					t.Errorf("overhead %d", got)
				}
				ip := f[at+2:]
				if u.Local.Addr().Is4() {
					if checksum.Checksum(ip[:20], 0) != 0xffff || ip[6] != 0x40 || binary.BigEndian.Uint16(ip[26:]) != 0 {
						t.Errorf("IPv4 and UDP headers % x", ip[:28])
					}
				} else if transportSum(f, at+2, at+2+40, protoUDP) != 0xffff || binary.BigEndian.Uint16(ip[46:]) == 0 {
					t.Errorf("UDP checksum %#x", ip[46:48])
				}
				for i, id := range u.Tags {
					if got := f[12+4*i : 16+4*i]; !bytes.Equal(got, []byte{0x81, 0, byte(id >> 8), byte(id)}) {
						t.Errorf("tag % x", got)
					}
				}
			}
		}
	}
}

// Without a source port of its own a packet has the tunnel's.
func TestStampKeepsPort(t *testing.T) {
	var d Datagram
	f := stamped(NewUDP(underlay6), []byte("hello"), 0)
	if r := d.ParseDatagram(f); r != OK || d.SourcePort != 4789 || string(f[d.Start:d.End]) != "hello" {
		t.Errorf("%v, %+v", r, d)
	}
}

func TestBadDatagrams(t *testing.T) {
	v4 := stamped(NewUDP(underlay4), bytesOf(100), 0)
	v6 := stamped(NewUDP(underlay6), bytesOf(100), 0)
	set := func(f []byte, at int, values ...byte) []byte {
		f = bytes.Clone(f)
		copy(f[at:], values)
		return f
	}
	fix := func(f []byte) []byte {
		clear(f[24:26])
		binary.BigEndian.PutUint16(f[24:], ^checksum.Checksum(f[14:34], 0))
		return f
	}
	extended := func(first byte, extensions ...byte) []byte {
		f := append(bytes.Clone(v6[:54]), extensions...)
		f = append(f, v6[54:]...)
		f[20] = first
		binary.BigEndian.PutUint16(f[18:], uint16(len(f)-54))
		return f
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"nothing", nil, Short},
		{"half an Ethernet header", v4[:10], Short},
		{"half an IPv4 header", v4[:25], Short},
		{"half an IPv6 header", v6[:40], Short},
		{"ARP", set(v4, 12, 8, 6), NotIP},
		{"three tags", append(append(bytes.Clone(v4[:12]), 0x81, 0, 0, 1, 0x88, 0xa8, 0, 1, 0x81, 0, 0, 1), v4[12:]...), Short},
		{"version 5", set(v4, 14, 0x55), BadHeader},
		{"version 5 in IPv6", set(v6, 14, 0x50), BadHeader},
		{"header of 16 bytes", set(v4, 14, 0x44), BadHeader},
		{"header beyond the frame", set(v4[:34], 14, 0x4f), Short},
		{"header checksum", set(v4, 24, v4[24]^0x10), BadHeader},
		{"longer than the frame", fix(set(v4, 16, 0xff)), BadLength},
		{"shorter than its header", fix(set(v4, 16, 0, 19)), BadLength},
		{"TCP", fix(set(v4, 23, 6)), NotUDP},
		{"TCP over IPv6", set(v6, 20, 6), NotUDP},
		{"first fragment", fix(set(v4, 20, 0x20)), Fragment},
		{"later fragment", fix(set(v4, 21, 1)), Fragment},
		{"fragment header", extended(extFragment, 17, 0, 0, 1, 0, 0, 0, 0), Fragment},
		{"no room for UDP", fix(set(v4, 16, 0, 24)), BadLength},
		{"UDP of 7 bytes", set(v4, 38, 0, 7), BadLength},
		{"UDP longer than IP", set(v4, 38, 0xff), BadLength},
		{"UDP over IPv6 longer than IP", set(v6, 58, 0xff), BadLength},
		{"UDP checksum", set(v6, 60, v6[60]^1), BadChecksum},
		{"UDP payload", set(v6, 100, v6[100]^1), BadChecksum},
		{"extension header beyond the packet", extended(extHopByHop, 17, 200, 0, 0, 0, 0, 0, 0), BadLength},
		{"too many extension headers", extended(extDestination, bytes.Repeat([]byte{60, 0, 0, 0, 0, 0, 0, 0}, 7)...), NotUDP},
	} {
		var d Datagram
		if got := d.ParseDatagram(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"no UDP checksum over IPv6", set(v6, 60, 0, 0)},
		{"options and a destination header", extended(extHopByHop, 60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0)},
		{"IPv4 options", func() []byte {
			f := append(append(bytes.Clone(v4[:34]), 1, 1, 1, 1), v4[34:]...)
			f[14] = 0x46
			binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
			clear(f[24:26])
			binary.BigEndian.PutUint16(f[24:], ^checksum.Checksum(f[14:38], 0))
			return f
		}()},
		{"unfinished UDP checksum", func() []byte {
			f := bytes.Clone(v4)
			clear(f[40:42])
			sum := checksum.Checksum(f[26:34], 17)
			binary.BigEndian.PutUint16(f[40:], checksum.Combine(sum, uint16(len(f)-34)))
			return f
		}()},
	} {
		var d Datagram
		if got := d.ParseDatagram(c.frame); got != OK || !bytes.Equal(c.frame[d.Start:d.End], bytesOf(100)) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestParseVXLAN(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		vni     uint32
		want    Reason
	}{
		{"a frame", append([]byte{8, 0, 0, 0, 1, 2, 3, 0}, make([]byte, 14)...), 0x010203, OK},
		{"reserved bits are ignored", append([]byte{0xff, 1, 1, 1, 1, 2, 3, 9}, make([]byte, 14)...), 0x010203, OK},
		{"no VNI", append([]byte{0xf7, 0, 0, 0, 1, 2, 3, 0}, make([]byte, 14)...), 0, BadVXLAN},
		{"no frame", append([]byte{8, 0, 0, 0, 1, 2, 3, 0}, make([]byte, 13)...), 0, Short},
	} {
		if vni, r := ParseVXLAN(c.payload); vni != c.vni || r != c.want {
			t.Errorf("%s: %#x, %v", c.name, vni, r)
		}
	}
}

func FuzzParseDatagram(f *testing.F) {
	for _, u := range []Underlay{underlay4, underlay6} {
		f.Add(stamped(NewVXLAN(u, 1), bytesOf(60), 0))
		u.Tags = []uint16{1, 2}
		f.Add(stamped(NewUDP(u), bytesOf(60), 0))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var d Datagram
		if d.ParseDatagram(frame) != OK {
			return
		}
		if d.Start < EthernetLen+IPv4Len+UDPLen || d.Start > d.End || d.End > len(frame) {
			t.Fatalf("payload from %d to %d of %d", d.Start, d.End, len(frame))
		}
		_, _ = ParseVXLAN(frame[d.Start:d.End])
	})
}

func FuzzFlowHash(f *testing.F) {
	for _, p := range variants() {
		f.Add(p.build(), byte(p.link))
	}
	f.Fuzz(func(t *testing.T, b []byte, link byte) {
		if got := SourcePort(FlowHash(b, Link(link&1))); got < 49152 {
			t.Fatalf("source port %d", got)
		}
	})
}

func TestFlowHash(t *testing.T) {
	for _, link := range []Link{Ethernet, IP} {
		for _, v6 := range []bool{false, true} {
			p := tcpPacket{link: link, v6: v6, flags: tcpACK, payload: bytesOf(10)}
			seen := map[uint16]bool{}
			for p.source = range 1000 {
				p.seq = uint32(p.source)
				a := FlowHash(p.build(), link)
				p.seq++
				p.payload = bytesOf(20)
				if b := FlowHash(p.build(), link); a != b {
					t.Fatalf("%v: packets of one flow have hashes %#x and %#x", p, a, b)
				}
				seen[SourcePort(a)] = true
			}
			if len(seen) < 900 { // of 16384, 30 collisions are to be expected
				t.Errorf("%v: 1000 flows have %d source ports", p, len(seen))
			}
		}
	}
	// Fragments have one in common, ports or not.
	p := tcpPacket{payload: bytesOf(100)}
	first, later := p.build(), p.build()
	first[EthernetLen+6] = 0x20
	later[EthernetLen+7] = 10
	later[EthernetLen+IPv4Len] = 99
	if FlowHash(first, Ethernet) != FlowHash(later, Ethernet) {
		t.Error("fragments of one packet have two hashes")
	}
}

func BenchmarkStamp(b *testing.B) {
	for name, u := range map[string]Underlay{"v4": underlay4, "v6": underlay6} {
		b.Run(name, func(b *testing.B) {
			o := NewVXLAN(u, 7)
			f := make([]byte, o.Len()+64)
			b.ReportAllocs()
			for b.Loop() {
				o.Stamp(f, 50000)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, u := range map[string]Underlay{"v4": underlay4, "v6": underlay6} {
		b.Run(name, func(b *testing.B) {
			f := stamped(NewVXLAN(u, 7), bytesOf(64), 0)
			b.ReportAllocs()
			for b.Loop() {
				var d Datagram
				if d.ParseDatagram(f) != OK {
					b.Fatal("refused")
				}
				if _, r := ParseVXLAN(f[d.Start:d.End]); r != OK {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkFlowHash(b *testing.B) {
	f := tcpPacket{payload: bytesOf(64)}.build()
	b.ReportAllocs()
	for b.Loop() {
		SourcePort(FlowHash(f, Ethernet))
	}
}
