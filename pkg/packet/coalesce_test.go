// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// gather is the bytes of each packet that comes out of a burst.
func gather(c *Coalescer) [][]byte {
	var out [][]byte
	for i := range c.Packets() {
		p := c.Packet(i)
		b := bytes.Clone(c.Bytes(p, p.First))
		for j := p.First; j != p.Last; {
			j = c.Next(j)
			b = append(b, c.Bytes(p, j)...)
		}
		out = append(out, b)
	}
	return out
}

func coalesce(link Link, packets ...[]byte) (*Coalescer, [][]byte) {
	c := &Coalescer{Trains: true}
	c.Reset(link)
	for _, b := range packets {
		c.Add(bytes.Clone(b))
	}
	c.Finish()
	return c, gather(c)
}

// What the segmenter cuts, the coalescer puts together again, to the bit.
func TestCoalescingUndoesSegmentation(t *testing.T) {
	const size = 1000
	for _, p := range variants() {
		if p.udp {
			continue
		}
		for _, flags := range []byte{tcpACK, tcpACK | tcpPSH} {
			p.flags, p.payload = flags, bytesOf(20*size+5)
			b, o := p.large(size)
			c, out := coalesce(p.link, cut(t, p, b, o, len(b), 2000)...)
			if len(out) != 1 || !bytes.Equal(out[0], b) {
				t.Fatalf("%v: %d packets, equal: %v", p, len(out), len(out) > 0 && bytes.Equal(out[0], b))
			}
			o.HeaderLen = uint16(len(b) - len(p.payload))
			if got := c.Packet(0); got.Offload != o || got.Len != len(b) || got.Segments != 21 {
				t.Errorf("%v: %+v, want %+v", p, got, o)
			}
		}
	}
}

// flow is a sequence of segments of 100 bytes.
type flow struct {
	tcpPacket
	n int
}

func (f *flow) next(change func(*tcpPacket)) []byte {
	p := f.tcpPacket
	p.payload = bytesOf(100)
	p.seq += uint32(f.n * 100)
	p.id += uint16(f.n)
	p.flags |= tcpACK
	f.n++
	if change != nil {
		change(&p)
	}
	return p.build()
}

func TestWhatIsPutTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		burst func(a, b *flow) [][]byte
		// want are the numbers of segments of the packets that come out.
		want []int
	}{
		{"a flow", func(a, _ *flow) [][]byte { return [][]byte{a.next(nil), a.next(nil), a.next(nil)} }, []int{3}},
		{"two flows interleaved", func(a, b *flow) [][]byte {
			return [][]byte{a.next(nil), b.next(nil), a.next(nil), b.next(nil), b.next(nil)}
		}, []int{2, 3}},
		{"PSH ends a packet", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.flags |= tcpPSH }), a.next(nil)}
		}, []int{2, 1}},
		{"a shorter segment ends a packet", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.payload = bytesOf(50) }), a.next(func(p *tcpPacket) { p.seq -= 50 })}
		}, []int{2, 1}},
		{"a longer segment does not fit", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.payload = bytesOf(150) })}
		}, []int{1, 1}},
		{"a gap", func(a, _ *flow) [][]byte {
			first := a.next(nil)
			a.next(nil)
			return [][]byte{first, a.next(nil)}
		}, []int{1, 1}},
		{"a pure acknowledgement keeps its place", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.payload = nil }), a.next(nil)}
		}, []int{1, 1, 1}},
		{"FIN", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.flags |= tcpFIN })}
		}, []int{1, 1}},
		{"a congestion mark", func(a, _ *flow) [][]byte {
			a.next(nil)
			second := a.next(nil)
			second[EthernetLen+1] |= 3
			clear(second[EthernetLen+10 : EthernetLen+12])
			Sum(0).Add(second[EthernetLen : EthernetLen+IPv4Len]).Put(second[EthernetLen+10:])
			a.n = 0
			first := a.next(nil)
			return [][]byte{first, second}
		}, []int{1, 1}},
		{"other options", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.options = 4 })}
		}, []int{1, 1}},
		{"another acknowledgement", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.ack = 1 })}
		}, []int{1, 1}},
		{"another window", func(a, _ *flow) [][]byte {
			return [][]byte{a.next(nil), a.next(func(p *tcpPacket) { p.window = 1 })}
		}, []int{1, 1}},
		{"a wrong checksum", func(a, _ *flow) [][]byte {
			bad := a.next(nil)
			bad[len(bad)-1] ^= 1
			return [][]byte{bad, a.next(nil), a.next(nil)}
		}, []int{1, 2}},
		{"a wrong checksum in between", func(a, _ *flow) [][]byte {
			first, bad := a.next(nil), a.next(nil)
			bad[len(bad)-1] ^= 1
			return [][]byte{first, bad, a.next(nil)}
		}, []int{1, 1, 1}},
		{"a fragment keeps its place among all", func(a, b *flow) [][]byte {
			fragment := b.next(nil)
			fragment[EthernetLen+6] = 0x20
			return [][]byte{a.next(nil), fragment, a.next(nil)}
		}, []int{1, 1, 1}},
		{"UDP goes its own way", func(a, b *flow) [][]byte {
			return [][]byte{a.next(nil), b.next(func(p *tcpPacket) { p.udp = true }), a.next(nil)}
		}, []int{2, 1}},
		{"ARP goes its own way", func(a, _ *flow) [][]byte {
			arp := make([]byte, 60)
			arp[12], arp[13] = 8, 6
			return [][]byte{a.next(nil), arp, a.next(nil)}
		}, []int{2, 1}},
	} {
		for _, v6 := range []bool{false, true} {
			if v6 && (c.name == "a fragment keeps its place among all" || c.name == "a congestion mark") {
				continue
			}
			t.Run(fmt.Sprintf("%s, v6 %v", c.name, v6), func(t *testing.T) {
				a := &flow{tcpPacket: tcpPacket{v6: v6, source: 1}}
				b := &flow{tcpPacket: tcpPacket{v6: v6, source: 2}}
				co, _ := coalesce(Ethernet, c.burst(a, b)...)
				var got []int
				for i := range co.Packets() {
					got = append(got, co.Packet(i).Segments)
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("segments %v, want %v", got, c.want)
				}
			})
		}
	}
}

// A packet never becomes longer than IP can tell.
func TestLongPacketsAreSplit(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		p := tcpPacket{v6: v6, flags: tcpACK}
		var burst [][]byte
		for i := range 60 {
			p.seq, p.payload = uint32(i*1400), bytesOf(1400)
			burst = append(burst, p.build())
			p.id++
		}
		c, out := coalesce(Ethernet, burst...)
		if len(out) != 2 {
			t.Fatalf("%d packets, want 2", len(out))
		}
		for i, b := range out {
			if len(b)-EthernetLen > maxIPLen || c.Packet(i).Len != len(b) {
				t.Errorf("packet %d has %d bytes, says %d", i, len(b), c.Packet(i).Len)
			}
		}
	}
}

// What others left unfinished is marked so, for the pod's kernel to accept it.
func TestUnfinishedChecksums(t *testing.T) {
	for _, p := range variants() {
		p.payload = bytesOf(64)
		b, o := p.large(1000)
		c, _ := coalesce(p.link, b)
		got := c.Packet(0).Offload
		if got.Flags != NeedsChecksum || got.CsumStart != o.CsumStart || got.CsumOffset != o.CsumOffset || got.GSOType != GSONone {
			t.Errorf("%v: %+v", p, got)
		}
		if !got.FinishChecksum(b) {
			t.Fatalf("%v: refused", p)
		}
		p.valid(t, b)
	}
}

func FuzzCoalesce(f *testing.F) {
	a := &flow{}
	f.Add(a.next(nil), a.next(nil), a.next(nil), byte(0))
	b := &flow{tcpPacket: tcpPacket{v6: true, link: IP}}
	f.Add(b.next(nil), b.next(nil), b.next(nil), byte(1))
	fragment := a.next(nil)
	binary.BigEndian.PutUint16(fragment[EthernetLen+6:], 0x2000)
	f.Add(a.next(nil), fragment, a.next(nil), byte(0))
	f.Add([]byte{}, []byte{1}, make([]byte, 60), byte(0))
	for i := range byte(4) { // trains
		d := &datagrams{tcpPacket: tcpPacket{link: Link(i & 1), v6: i > 1}}
		f.Add(d.next(30, nil), d.next(30, nil), d.next(20, nil), i&1)
	}
	f.Fuzz(func(t *testing.T, x, y, z []byte, link byte) {
		if len(x)+len(y)+len(z) > 1<<16 {
			return
		}
		c, out := coalesce(Link(link&1), x, y, z)
		segments := 0
		for i, b := range out {
			p := c.Packet(i)
			segments += p.Segments
			if len(b) != p.Len {
				t.Fatalf("packet %d has %d bytes, says %d", i, len(b), p.Len)
			}
			if p.Segments == 1 {
				continue
			}
			// Whatever was put together can be cut again, into as many.
			cuts := cut(t, tcpPacket{link: Link(link & 1)}, b, p.Offload, len(b), 1<<16)
			if len(cuts) != p.Segments {
				t.Fatalf("packet %d of %d segments was cut into %d: %+v", i, p.Segments, len(cuts), p.Offload)
			}
		}
		if segments != 3 {
			t.Fatalf("%d segments came out of 3", segments)
		}
	})
}

func BenchmarkCoalesce46(b *testing.B) {
	p := tcpPacket{options: 12, flags: tcpACK}
	var burst [][]byte
	bytes := 0
	for i := range 46 {
		p.seq, p.id, p.payload = uint32(i*1384), uint16(i), bytesOf(1384)
		burst = append(burst, p.build())
		bytes += len(burst[i])
	}
	first := append([]byte(nil), burst[0]...)
	c := new(Coalescer)
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		copy(burst[0], first)
		c.Reset(Ethernet)
		for _, p := range burst {
			c.Add(p)
		}
		c.Finish()
		if c.Packets() != 1 {
			b.Fatal(c.Packets())
		}
	}
}
