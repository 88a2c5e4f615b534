// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// datagrams makes datagrams of one flow with payloads that differ.
type datagrams struct {
	tcpPacket
	n int
}

func (d *datagrams) next(size int, change func(ip, udp []byte)) []byte {
	p := d.tcpPacket
	p.udp, p.payload = true, bytesOf(size)
	if size > 0 {
		p.payload[0] = byte(d.n)
	}
	p.id += uint16(d.n)
	d.n++
	b := p.build()
	if change != nil {
		network, transport, _ := p.offsets()
		change(b[network:transport], b[transport:])
		if !p.v6 {
			clear(b[network+10 : network+12])
			Sum(0).Add(b[network:transport]).Put(b[network+10:])
		}
	}
	return b
}

// What the segmenter cuts of a train, the coalescer puts together again, to the
// bit.
func TestTrainsUndoSegmentation(t *testing.T) {
	const size = 500
	for _, p := range variants() {
		if !p.udp {
			continue
		}
		p.payload = bytesOf(20*size + 5)
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

func TestWhatMakesATrain(t *testing.T) {
	id := func(v uint16) func(ip, udp []byte) {
		return func(ip, _ []byte) { binary.BigEndian.PutUint16(ip[4:], v) }
	}
	wild := func(v uint16) func(ip, udp []byte) { // without DF
		return func(ip, _ []byte) { ip[6] = 0; binary.BigEndian.PutUint16(ip[4:], v) }
	}
	for _, c := range []struct {
		name  string
		burst func(a, b *datagrams) [][]byte
		want  []int
		only4 bool
	}{
		{"equal sizes", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(100, nil), a.next(100, nil)}
		}, []int{3}, false},
		{"a byte each, with Ethernet's padding", func(a, _ *datagrams) [][]byte {
			return [][]byte{append(a.next(1, nil), make([]byte, 17)...), append(a.next(1, nil), make([]byte, 17)...)}
		}, []int{2}, false},
		{"two flows interleaved", func(a, b *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), b.next(50, nil), a.next(100, nil), b.next(50, nil)}
		}, []int{2, 2}, false},
		{"a shorter one is the last", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(99, nil), a.next(99, nil)}
		}, []int{2, 1}, false},
		{"a longer one begins a train", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(101, nil), a.next(101, nil)}
		}, []int{1, 2}, false},
		{"an empty one keeps its place", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(0, nil), a.next(100, nil)}
		}, []int{1, 1, 1}, false},
		{"no checksum keeps its place", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(100, func(_, udp []byte) { clear(udp[6:8]) }), a.next(100, nil)}
		}, []int{1, 1, 1}, false},
		{"none has a checksum", func(a, _ *datagrams) [][]byte {
			none := func(_, udp []byte) { clear(udp[6:8]) }
			return [][]byte{a.next(100, none), a.next(100, none)}
		}, []int{1, 1}, false},
		{"a wrong checksum in between", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(100, func(_, udp []byte) { udp[20] ^= 1 }), a.next(100, nil)}
		}, []int{1, 1, 1}, false},
		{"options behind UDP", func(a, _ *datagrams) [][]byte {
			shorter := func(_, udp []byte) { binary.BigEndian.PutUint16(udp[4:], 100) }
			return [][]byte{a.next(100, nil), a.next(100, shorter), a.next(100, nil)}
		}, []int{1, 1, 1}, false},
		{"another hop limit", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(100, func(ip, _ []byte) {
				if ip[0]>>4 == 6 {
					ip[7]--
				} else {
					ip[8]--
				}
			})}
		}, []int{1, 1}, false},
		{"another type of service", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), a.next(100, func(ip, _ []byte) { ip[1] |= 0x30 })}
		}, []int{1, 1}, false},
		{"TCP of the same ports", func(a, _ *datagrams) [][]byte {
			f := &flow{tcpPacket: a.tcpPacket}
			return [][]byte{f.next(nil), a.next(100, nil), f.next(nil), a.next(100, nil)}
		}, []int{2, 2}, true},
		{"DF and no identification", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, id(0)), a.next(100, id(0)), a.next(100, id(0))}
		}, []int{3}, true},
		{"DF and a leap of the identification", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, id(5)), a.next(100, id(7))}
		}, []int{1, 1}, true},
		{"no DF, identifications count", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, wild(0xffff)), a.next(100, wild(0))}
		}, []int{2}, true},
		{"no DF, the same identification", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, wild(5)), a.next(100, wild(5))}
		}, []int{1, 1}, true},
		{"one without DF", func(a, _ *datagrams) [][]byte {
			return [][]byte{a.next(100, id(5)), a.next(100, wild(6))}
		}, []int{1, 1}, true},
		{"a fragment keeps its place among all", func(a, b *datagrams) [][]byte {
			return [][]byte{a.next(100, nil), b.next(100, func(ip, _ []byte) { ip[6] = 0x20 }), a.next(100, nil)}
		}, []int{1, 1, 1}, true},
	} {
		for _, v6 := range []bool{false, true} {
			if v6 && c.only4 {
				continue
			}
			t.Run(fmt.Sprintf("%s, v6 %v", c.name, v6), func(t *testing.T) {
				a := &datagrams{tcpPacket: tcpPacket{v6: v6, source: 1}}
				b := &datagrams{tcpPacket: tcpPacket{v6: v6, source: 2}}
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

// IP options are never part of a train, and keep their place.
func TestOptionsOfIPAreLeftAlone(t *testing.T) {
	a := &datagrams{tcpPacket: tcpPacket{link: IP}}
	first, plain, last := a.next(100, nil), a.next(100, nil), a.next(100, nil)
	b := append(append(bytes.Clone(plain[:IPv4Len]), 1, 1, 1, 1), plain[IPv4Len:]...)
	b[0] = 0x46
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	clear(b[10:12])
	Sum(0).Add(b[:IPv4Len+4]).Put(b[10:])
	if c, _ := coalesce(IP, first, b, last); c.Packets() != 3 {
		t.Errorf("%d packets, want 3", c.Packets())
	}
}

// A receiver that knows no trains gets every datagram as it came.
func TestNoTrainsUnlessAllowed(t *testing.T) {
	a := new(datagrams)
	burst := [][]byte{a.next(100, nil), a.next(100, nil)}
	c := new(Coalescer)
	c.Reset(Ethernet)
	for _, b := range burst {
		c.Add(bytes.Clone(b))
	}
	c.Finish()
	out := gather(c)
	if len(out) != 2 || !bytes.Equal(out[0], burst[0]) || !bytes.Equal(out[1], burst[1]) {
		t.Errorf("%d packets, want the two as they were", len(out))
	}
}

// A train has no more datagrams than a kernel splits, and no more bytes than IP
// can tell.
func TestLongTrainsAreSplit(t *testing.T) {
	for size, want := range map[int]string{10: "[64 36]", 1400: "[46 46 8]"} {
		for _, v6 := range []bool{false, true} {
			a := &datagrams{tcpPacket: tcpPacket{v6: v6}}
			var burst [][]byte
			for range 100 {
				burst = append(burst, a.next(size, nil))
			}
			c, out := coalesce(Ethernet, burst...)
			var got []int
			for i, b := range out {
				got = append(got, c.Packet(i).Segments)
				if len(b)-EthernetLen > maxIPLen {
					t.Errorf("packet %d has %d bytes", i, len(b))
				}
			}
			if fmt.Sprint(got) != want {
				t.Errorf("%d bytes, v6 %v: %v datagrams, want %s", size, v6, got, want)
			}
		}
	}
}

// Any burst of flows of all kinds comes out with every flow's packets in order,
// and bit by bit as they went in once the receiver has cut what is large.
func TestTrainsGiveBackWhatWentIn(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		link := Link(r.IntN(2))
		flows := make([]*datagrams, 1+r.IntN(20))
		for i := range flows {
			flows[i] = &datagrams{tcpPacket: tcpPacket{link: link, v6: i%2 == 1, source: uint16(i)}}
		}
		sizes := []int{0, 1, 2, 100, 100, 100, 101, 1400}
		want := make(map[string][][]byte)
		var burst [][]byte
		for range 1 + r.IntN(MaxBurst-1) {
			f := flows[r.IntN(len(flows))]
			change := func(ip, udp []byte) {
				switch r.IntN(20) {
				case 0:
					clear(udp[6:8])
				case 1:
					udp[len(udp)-1] ^= 0xff
				case 2:
					ip[1] ^= 0x10
				case 3:
					f.n += 3
				}
			}
			b := f.next(sizes[r.IntN(len(sizes))], change)
			burst = append(burst, b)
			want[flowOf(b, link)] = append(want[flowOf(b, link)], b)
		}
		c, out := coalesce(link, burst...)
		got := make(map[string][][]byte)
		for i, b := range out {
			key := flowOf(b, link)
			o := c.Packet(i).Offload
			if o.GSOType == GSONone {
				got[key] = append(got[key], b)
				continue
			}
			got[key] = append(got[key], cut(t, tcpPacket{link: link}, b, o, len(b), 1<<16)...)
		}
		for key, packets := range want {
			if len(got[key]) != len(packets) {
				t.Fatalf("seed %d: %d packets of a flow, want %d", seed, len(got[key]), len(packets))
			}
			for i := range packets {
				if !bytes.Equal(got[key][i], packets[i]) {
					t.Fatalf("seed %d: packet %d of a flow differs:\n% x\n% x", seed, i, got[key][i], packets[i])
				}
			}
		}
	}
}

// flowOf is the addresses and ports of a packet that tests have built.
func flowOf(b []byte, link Link) string {
	if link == Ethernet {
		b = b[EthernetLen:]
	}
	if b[0]>>4 == 6 {
		return string(b[8 : IPv6Len+4])
	}
	return string(b[12 : IPv4Len+4])
}

func BenchmarkCoalesceTrain64(b *testing.B) {
	a := new(datagrams)
	var burst [][]byte
	for range 64 {
		burst = append(burst, a.next(22, nil))
	}
	first := bytes.Clone(burst[0])
	c := &Coalescer{Trains: true}
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
