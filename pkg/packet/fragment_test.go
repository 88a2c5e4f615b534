// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// pieces cuts a stamped frame for a link of MTU mtu.
func pieces(o *Outer, whole []byte, mtu int, id uint32) [][]byte {
	var all [][]byte
	for at := 0; ; {
		dst := make([]byte, len(whole)+fragmentLen)
		n, next := o.Fragment(dst, whole, at, mtu, id)
		all = append(all, dst[:n])
		if at = next; at == 0 {
			return all
		}
	}
}

// join puts pieces together, in any order, in the slow and obvious way.
func join(t testing.TB, frames [][]byte) []byte {
	t.Helper()
	var first Piece
	var whole []byte
	payload := map[int]byte{}
	for _, f := range frames {
		var d Datagram
		if r := d.ParseDatagram(f); r != Fragment {
			t.Fatalf("a fragment is %v: % x", r, f)
		}
		var p Piece
		if r := p.Parse(f); r != OK {
			t.Fatalf("%v: % x", r, f)
		}
		if p.Offset == 0 {
			first, whole = p, bytes.Clone(f[:p.HeaderLen()])
		}
		for i, b := range f[p.Start:p.End] {
			payload[p.Offset+i] = b
		}
	}
	for i := range len(payload) {
		whole = append(whole, payload[i])
	}
	first.Restore(whole)
	return whole
}

// withoutFlags takes out of an IPv4 header what fragments do not carry: DF and the
// identification, and with them the checksum.
func withoutFlags(o *Outer, f []byte) []byte {
	f = bytes.Clone(f)
	if ip := f[o.network:]; ip[0]>>4 == 4 {
		clear(ip[4:8])
		clear(ip[10:12])
	}
	return f
}

func TestFragmentsMakeTheWhole(t *testing.T) {
	for _, u := range []Underlay{underlay4, underlay6} {
		for tags := range 3 {
			u.Tags = []uint16{100, 4094}[:tags]
			for _, length := range []int{1222, 1232, 1294, 1298, 1400, 1800} {
				o := NewVXLAN(u, 7)
				whole := stamped(o, bytesOf(length), 55555)
				frames := pieces(&o, whole, 1280, 0x12345678)
				for i, f := range frames {
					if len(f)-o.network > 1280 {
						t.Errorf("%v, %d bytes: fragment %d has %d", u.Local, length, i, len(f)-o.network)
					}
					if ip := f[o.network:]; ip[0]>>4 == 4 {
						if ip[6]&0x40 != 0 || binary.BigEndian.Uint16(ip[4:]) != 0x5678 {
							t.Errorf("flags %#x, identification % x", ip[6], ip[4:6])
						}
					} else if ip[6] != extFragment || binary.BigEndian.Uint32(ip[44:]) != 0x12345678 {
						t.Errorf("next header %d, fragment header % x", ip[6], ip[40:48])
					}
				}
				if len(frames) != 2 && len(whole)-o.network > 1280 {
					t.Errorf("%v, %d bytes: %d fragments", u.Local, length, len(frames))
				}
				if len(frames) == 1 {
					continue
				}
				frames[0], frames[1] = frames[1], frames[0]
				got := join(t, frames)
				if !bytes.Equal(withoutFlags(&o, got), withoutFlags(&o, whole)) {
					t.Errorf("%v, %d bytes: put together: % x, want % x", u.Local, length, got[:80], whole[:80])
				}
				var d Datagram
				if r := d.ParseDatagram(got); r != OK || !bytes.Equal(got[d.Start+VXLANLen:d.End], bytesOf(length)) {
					t.Errorf("%v, %d bytes: put together: %v", u.Local, length, r)
				}
			}
		}
	}
}

// Extension headers in front of the fragment header stay.
func TestPieceBehindExtensionHeaders(t *testing.T) {
	o := NewUDP(underlay6)
	whole := stamped(o, bytesOf(1400), 0)
	var frames [][]byte
	for _, f := range pieces(&o, whole, 1280, 9) {
		longer := append(bytes.Clone(f[:54]), extFragment, 0, 1, 4, 0, 0, 0, 0)
		longer = append(longer, f[54:]...)
		longer[20] = extDestination
		binary.BigEndian.PutUint16(longer[18:], uint16(len(longer)-54))
		frames = append(frames, longer)
	}
	var d Datagram
	got := join(t, frames)
	if r := d.ParseDatagram(got); r != OK || !bytes.Equal(got[d.Start:d.End], bytesOf(1400)) || got[54] != protoUDP {
		t.Errorf("%v: % x", r, got[:80])
	}
}

func TestBadPieces(t *testing.T) {
	o4, o6 := NewUDP(underlay4), NewUDP(underlay6)
	v4 := pieces(&o4, stamped(o4, bytesOf(1500), 0), 1280, 1)
	v6 := pieces(&o6, stamped(o6, bytesOf(1500), 0), 1280, 1)
	// resize4 and resize6 give a fragment another payload and place.
	resize4 := func(f []byte, size int, place uint16) []byte {
		f = append(bytes.Clone(f[:34]), make([]byte, size)...)
		o4.fragment4(f, 0, false, 1)
		binary.BigEndian.PutUint16(f[20:], place)
		clear(f[24:26])
		Sum(0).Add(f[14:34]).Put(f[24:])
		return f
	}
	resize6 := func(f []byte, size int, place uint16) []byte {
		f = append(bytes.Clone(f[:62]), make([]byte, size)...)
		o6.fragment6(f, 0, false, 1)
		binary.BigEndian.PutUint16(f[56:], place)
		return f
	}
	other6 := bytes.Clone(v6[0])
	other6[54] = protoTCP
	cut := append([]byte(nil), v6[0][:58]...)
	binary.BigEndian.PutUint16(cut[18:], 4)
	for _, c := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"first", v4[0], OK},
		{"last", v4[1], OK},
		{"IPv6, first", v6[0], OK},
		{"IPv6, last", v6[1], OK},
		{"no payload", resize4(v4[1], 0, 100), Fragment},
		{"IPv6, no payload", resize6(v6[1], 0, 800), Fragment},
		{"no multiple of 8", resize4(v4[0], 1001, more4), Fragment},
		{"IPv6, no multiple of 8", resize6(v6[0], 1001, more6), Fragment},
		{"tiny", resize4(v4[0], 504, more4), Fragment},
		{"IPv6, tiny", resize6(v6[0], 504, more6), Fragment},
		{"tiny, in between", resize4(v4[0], 8, more4|100), Fragment},
		{"as short as can be", resize4(v4[0], 512, more4), OK},
		{"a short last one", resize4(v4[0], 1, 100), OK},
		{"beyond the longest packet", resize4(v4[0], 1200, offset4), Fragment},
		{"IPv6, beyond the longest packet", resize6(v6[0], 1200, offset6), Fragment},
		{"IPv6, another protocol", other6, NotUDP},
		{"IPv6, ends within the header", cut, Fragment},
	} {
		var d Datagram
		if r := d.ParseDatagram(c.frame); r != Fragment {
			t.Errorf("%s: not a fragment: %v", c.name, r)
			continue
		}
		var p Piece
		if got := p.Parse(c.frame); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Whatever is sent comes together again.
func FuzzFragment(f *testing.F) {
	f.Add(uint16(1298), uint16(1280), uint32(1), byte(0))
	f.Add(uint16(1900), uint16(600), uint32(1<<31), byte(7))
	f.Fuzz(func(t *testing.T, length, mtu uint16, id uint32, kind byte) {
		length, mtu = length%8000, 580+mtu%8000
		u := underlay4
		if kind&1 != 0 {
			u = underlay6
		}
		u.Tags = []uint16{1, 2}[:kind>>1%3]
		o := NewUDP(u)
		whole := stamped(o, bytesOf(int(length)), 0)
		frames := pieces(&o, whole, int(mtu), id)
		if len(frames) == 1 && u.Local.Addr().Is4() {
			return // not fragmented: nothing says that it was meant to be
		}
		if got := join(t, frames); len(frames) > 1 && !bytes.Equal(withoutFlags(&o, got), withoutFlags(&o, whole)) {
			t.Fatalf("%d bytes in %d fragments", length, len(frames))
		}
	})
}

func FuzzPiece(f *testing.F) {
	for _, u := range []Underlay{underlay4, underlay6} {
		u.Tags = []uint16{5}
		o := NewVXLAN(u, 1)
		for _, p := range pieces(&o, stamped(o, bytesOf(1400), 0), 1280, 77) {
			f.Add(p)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var d Datagram
		var p Piece
		if d.ParseDatagram(frame) != Fragment || p.Parse(frame) != OK {
			return
		}
		size := p.End - p.Start
		if p.HeaderLen() < EthernetLen+IPv4Len || p.Start < p.HeaderLen() || size <= 0 || p.End > len(frame) || p.Offset%8 != 0 {
			t.Fatalf("%+v of %d", p, len(frame))
		}
		whole := append(bytes.Clone(frame[:p.HeaderLen()]), frame[p.Start:p.End]...)
		p.Restore(whole)
		if d.ParseDatagram(whole) == Fragment && !p.Of.V6 { // IPv6 may have a second fragment header
			t.Fatalf("still a fragment: % x", whole)
		}
	})
}

func BenchmarkFragment(b *testing.B) {
	o := NewVXLAN(underlay4, 7)
	whole := stamped(o, bytesOf(1294), 0)
	dst := make([]byte, 2048)
	b.ReportAllocs()
	for b.Loop() {
		_, next := o.Fragment(dst, whole, 0, 1280, 1)
		o.Fragment(dst, whole, next, 1280, 1)
	}
}
