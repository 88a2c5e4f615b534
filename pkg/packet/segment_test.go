// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// cut segments a packet, of which the first bytes are in one piece.
func cut(t testing.TB, p tcpPacket, b []byte, o Offload, first, limit int) [][]byte {
	t.Helper()
	var s Segmenter
	if !s.Start(&o, p.link, b[:first:first], b[first:], limit) {
		t.Fatalf("%v: refused", p)
	}
	var all [][]byte
	for s.Left() {
		dst := make([]byte, limit)
		all = append(all, dst[:s.Next(dst)])
	}
	return all
}

func TestSegments(t *testing.T) {
	const size = 1000
	for _, p := range variants() {
		p.flags |= tcpPSH | tcpFIN | tcpCWR
		for _, length := range []int{1, size, size + 1, 10*size + 37} {
			p.payload = bytesOf(length)
			b, o := p.large(size)
			_, transport, _ := p.offsets()
			header := len(b) - length
			for _, first := range []int{header, header + 1, min(header+size, len(b)), len(b)} {
				segments := cut(t, p, b, o, first, header+size)
				if want := (length + size - 1) / size; len(segments) != want {
					t.Fatalf("%v: %d segments, want %d", p, len(segments), want)
				}
				var payload []byte
				for i, s := range segments {
					p.valid(t, s)
					if !p.udp {
						if got, want := binary.BigEndian.Uint32(s[transport+4:]), p.seq+uint32(i*size); got != want {
							t.Errorf("%v: sequence %#x of segment %d, want %#x", p, got, i, want)
						}
						want := byte(tcpACK)
						if i == 0 {
							want |= tcpCWR
						}
						if i == len(segments)-1 {
							want |= tcpPSH | tcpFIN
						}
						if got := s[transport+13]; got != want {
							t.Errorf("%v: flags %#x of segment %d, want %#x", p, got, i, want)
						}
					}
					if network, _, _ := p.offsets(); !p.v6 {
						if got := binary.BigEndian.Uint16(s[network+4:]); got != p.id+uint16(i) {
							t.Errorf("%v: identification %#x of segment %d", p, got, i)
						}
					}
					payload = append(payload, s[header:]...)
				}
				if !bytes.Equal(payload, p.payload) {
					t.Errorf("%v: payload differs", p)
				}
			}
		}
	}
}

// The first segment may stay where the packet begins.
func TestFirstSegmentInPlace(t *testing.T) {
	p := tcpPacket{flags: tcpACK, payload: bytesOf(5000)}
	b, o := p.large(1000)
	want := cut(t, p, bytes.Clone(b), o, len(b), 1100)
	var s Segmenter
	if !s.Start(&o, p.link, b[:1054], b[1054:], 1100) {
		t.Fatal("refused")
	}
	for i := 0; s.Left(); i++ {
		dst := b
		if i > 0 {
			dst = make([]byte, 1100)
		}
		if got := dst[:s.Next(dst)]; !bytes.Equal(got, want[i]) {
			t.Errorf("segment %d differs", i)
		}
	}
}

func TestPacketsThatCannotBeSegmented(t *testing.T) {
	good := tcpPacket{flags: tcpACK, payload: bytesOf(3000)}
	for _, c := range []struct {
		name   string
		change func(b []byte, o *Offload)
		limit  int
		tooBig bool
	}{
		{"segments of nothing", func(_ []byte, o *Offload) { o.GSOSize = 0 }, 2000, false},
		{"type unknown", func(_ []byte, o *Offload) { o.GSOType = 2 }, 2000, false},
		{"type of the other family", func(_ []byte, o *Offload) { o.GSOType = GSOTCP6 }, 2000, false},
		{"checksum finished", func(_ []byte, o *Offload) { o.Flags = 0 }, 2000, false},
		{"transport header elsewhere", func(_ []byte, o *Offload) { o.CsumStart += 4 }, 2000, false},
		{"transport header outside", func(_ []byte, o *Offload) { o.CsumStart = 60000 }, 2000, false},
		{"TCP header too short", func(b []byte, _ *Offload) { b[46] = 0x40 }, 2000, false},
		{"not IP", func(b []byte, _ *Offload) { b[12] = 0 }, 2000, false},
		{"version of IP", func(b []byte, _ *Offload) { b[14] = 0x65 }, 2000, false},
		{"too big", func([]byte, *Offload) {}, 1053, true},
	} {
		b, o := good.large(1000)
		c.change(b, &o)
		var s Segmenter
		if s.Start(&o, Ethernet, b, nil, c.limit) || s.Left() {
			t.Errorf("%s: accepted", c.name)
		}
		if s.TooBig() != c.tooBig {
			t.Errorf("%s: too big is %v", c.name, s.TooBig())
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, p := range variants() {
		p.payload = bytesOf(3000)
		b, o := p.large(1000)
		head := make([]byte, OffloadLen)
		o.Put(head)
		f.Add(head, b, uint16(200), uint16(1400), byte(p.link))
	}
	f.Fuzz(func(t *testing.T, head, b []byte, first, limit uint16, link byte) {
		if len(head) < OffloadLen || int(first) > len(b) || len(b) > 1<<17 {
			return
		}
		var o Offload
		o.Decode(head)
		var s Segmenter
		if !s.Start(&o, Link(link&1), b[:first:first], b[first:], int(limit)) {
			if s.Left() {
				t.Fatal("refused, and something is left")
			}
			return
		}
		total := 0
		for s.Left() {
			dst := make([]byte, limit)
			n := s.Next(dst)
			if n > int(limit) || n <= s.headerLen {
				t.Fatalf("segment of %d bytes, limit %d", n, limit)
			}
			total += n - s.headerLen
		}
		if total != len(b)-s.headerLen {
			t.Fatalf("%d bytes of payload, want %d", total, len(b)-s.headerLen)
		}
	})
}

func BenchmarkSegment64K(b *testing.B) {
	p := tcpPacket{options: 12, flags: tcpACK, payload: bytesOf(46 * 1384)}
	large, o := p.large(1384)
	var s Segmenter
	dst := make([]byte, 2048)
	b.SetBytes(int64(len(large)))
	b.ReportAllocs()
	for b.Loop() {
		if !s.Start(&o, Ethernet, large[:1500], large[1500:], 2048) {
			b.Fatal("refused")
		}
		for s.Left() {
			s.Next(dst)
		}
	}
}
