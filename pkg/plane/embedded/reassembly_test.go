// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nsm-afxdp/forwarder/pkg/packet"
)

// cutting makes fragments of datagrams from one node to another.
type cutting struct {
	outer packet.Outer
	v6    bool
}

func newCutting(v6 bool, tags ...uint16) *cutting {
	addrs := addrs4
	if v6 {
		addrs = addrs6
	}
	return &cutting{v6: v6, outer: packet.NewUDP(packet.Underlay{
		Destination: [6]byte{2, 1}, Source: [6]byte{2, 2}, Tags: tags,
		Local: netip.AddrPortFrom(addrs[1], 50000), Remote: netip.AddrPortFrom(addrs[0], 4789),
	})}
}

// datagram is a stamped frame of so many bytes of IP payload.
func (c *cutting) datagram(length int) []byte {
	f := make([]byte, c.outer.Len()-packet.UDPLen+length)
	copy(f[c.outer.Len():], pattern)
	c.outer.Stamp(f, 0)
	return f
}

// piece is the fragment of whole that has the given range of its IP payload; with
// more, others are said to follow.
func (c *cutting) piece(whole []byte, from, to int, more bool, id uint32) []byte {
	udp := c.outer.Len() - packet.UDPLen
	network := c.outer.Len() - c.outer.Overhead()
	f := bytes.Clone(whole[:udp])
	ip, place := f[network:], uint16(from)
	if c.v6 {
		if more {
			place |= 1
		}
		ip[6] = 44
		f = binary.BigEndian.AppendUint16(append(f, 17, 0), place)
		f = binary.BigEndian.AppendUint32(f, id)
		binary.BigEndian.PutUint16(f[network+4:], uint16(8+to-from))
	} else {
		place /= 8
		if more {
			place |= 0x2000
		}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+to-from))
		binary.BigEndian.PutUint16(ip[4:], uint16(id))
		binary.BigEndian.PutUint16(ip[6:], place)
		clear(ip[10:12])
		packet.Sum(0).Add(ip).Put(ip[10:])
	}
	return append(f, whole[udp+from:udp+to]...)
}

// requireFree fails unless no datagram waits, and nothing of any is left.
func requireFree(t testing.TB, r *reassembly) {
	t.Helper()
	r.sweep(time.Now().Add(time.Hour), new(drops))
	if len(r.partial) != 0 {
		t.Errorf("%d datagrams wait", len(r.partial))
	}
	for i := range r.ring {
		if d := &r.ring[i]; !d.began.IsZero() || d.broken || d.n != 0 || d.have != 0 || d.total != 0 {
			t.Errorf("not free: %+v", d.of)
		}
	}
}

// droppedBy is what has been dropped, by name.
func droppedBy(dropped *drops) map[string]uint64 {
	all := map[string]uint64{}
	for r := range dropReasons {
		if n := dropped[r].Load(); n > 0 {
			all[dropName(r)] = n
		}
	}
	return all
}

func TestFragmentsComeTogether(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, tags := range [][]uint16{nil, {100}, {100, 200}} {
			c := newCutting(v6, tags...)
			whole := c.datagram(1900)
			pieces := [][]byte{
				c.piece(whole, 0, 512, true, 7), c.piece(whole, 512, 1112, true, 7), c.piece(whole, 1112, 1900, false, 7),
			}
			for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
				r, dropped, dst, now := new(reassembly), new(drops), make([]byte, maxWhole), time.Now()
				n := 0
				for i, which := range order {
					n = r.add(pieces[which], dst, now, dropped)
					if (n != 0) != (i == 2) {
						t.Fatalf("order %v: %d bytes after %d fragments", order, n, i+1)
					}
				}
				dst = dst[:n]
				var a, b packet.Datagram
				if r := a.ParseDatagram(dst); r != packet.OK {
					t.Fatalf("order %v: %v", order, r)
				}
				_ = b.ParseDatagram(whole)
				if a != b || !bytes.Equal(dst[a.Start:a.End], whole[b.Start:b.End]) {
					t.Errorf("order %v: %+v, want %+v", order, a, b)
				}
				if got := droppedBy(dropped); len(got) > 0 || len(r.partial) > 0 {
					t.Errorf("order %v: dropped %v, %d wait", order, got, len(r.partial))
				}
				requireFree(t, r)
			}
		}
	}
}

func TestHostileFragments(t *testing.T) {
	type cut struct {
		from, to int
		more     bool
	}
	for _, c := range []struct {
		name string
		cuts []cut
		want map[string]uint64
	}{
		{"twice the same first", []cut{{0, 800, true}, {0, 800, true}, {800, 1000, false}}, map[string]uint64{"fragment_overlap": 2}},
		{"twice the same last", []cut{{800, 1000, false}, {800, 1000, false}, {0, 800, true}}, map[string]uint64{"fragment_overlap": 2}},
		{"overlap of 8 bytes", []cut{{0, 800, true}, {792, 1000, false}}, map[string]uint64{"fragment_overlap": 1}},
		{"one within another", []cut{{0, 1400, true}, {256, 1024, true}}, map[string]uint64{"fragment_overlap": 1}},
		{"behind the last", []cut{{800, 1000, false}, {1000, 1600, true}}, map[string]uint64{"fragment_overlap": 1}},
		{"a last one before what is there", []cut{{800, 1400, true}, {600, 700, false}}, map[string]uint64{"fragment_overlap": 1}},
		{"no end", []cut{{0, 512, true}, {512, 1024, true}, {1024, 1536, true}}, map[string]uint64{"fragment_incomplete": 1}},
		{"a hole", []cut{{0, 512, true}, {1024, 1100, false}}, map[string]uint64{"fragment_incomplete": 1}},
		{"no beginning", []cut{{1024, 1100, false}}, map[string]uint64{"fragment_incomplete": 1}},
		{"tiny", []cut{{0, 8, true}, {8, 16, true}}, map[string]uint64{"fragment": 2}},
		{"empty", []cut{{800, 800, false}}, map[string]uint64{"fragment": 1}},
		{"too long", []cut{{1600, 2100, false}}, map[string]uint64{"too_long": 1}},
		{"far beyond", []cut{{8000, 9000, false}}, map[string]uint64{"too_long": 1}},
	} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, IPv6: %t", c.name, v6), func(t *testing.T) {
				cutting := newCutting(v6)
				whole := cutting.datagram(9000)
				r, dropped, dst := new(reassembly), new(drops), make([]byte, maxWhole)
				for _, p := range c.cuts {
					if n := r.add(cutting.piece(whole, p.from, p.to, p.more, 7), dst, time.Now(), dropped); n != 0 {
						t.Errorf("%d bytes after %+v", n, p)
					}
				}
				r.sweep(time.Now().Add(time.Second), dropped)
				if got := droppedBy(dropped); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("dropped %v, want %v", got, c.want)
				}
				requireFree(t, r)
				// The next datagram with that id is another one.
				good := cutting.datagram(1000)
				if r.add(cutting.piece(good, 0, 800, true, 7), dst, time.Now(), dropped) != 0 ||
					r.add(cutting.piece(good, 800, 1000, false, 7), dst, time.Now(), dropped) == 0 {
					t.Error("a good datagram does not come together afterwards")
				}
			})
		}
	}
}

// What makes two datagrams two.
func TestFragmentsOfDifferentDatagrams(t *testing.T) {
	c4, c6 := newCutting(false), newCutting(true)
	w4, w6 := c4.datagram(1000), c6.datagram(1000)
	other := bytes.Clone(w4)
	other[14+15]++ // another source
	r, dropped, dst, now := new(reassembly), new(drops), make([]byte, maxWhole), time.Now()
	for _, f := range [][]byte{
		c4.piece(w4, 0, 800, true, 7), c4.piece(w4, 800, 1000, false, 8),
		c4.piece(other, 800, 1000, false, 7), c6.piece(w6, 800, 1000, false, 7),
	} {
		if n := r.add(f, dst, now, dropped); n != 0 {
			t.Errorf("%d bytes", n)
		}
	}
	if len(r.partial) != 4 {
		t.Errorf("%d datagrams wait, want 4", len(r.partial))
	}
	// One that is alone has nothing to do with others of its id (RFC 6946).
	if n := r.add(c6.piece(w6, 0, 1000, false, 7), dst, now, dropped); !bytes.Equal(dst[:n], w6) {
		t.Errorf("alone: %d bytes", n)
	}
	if len(r.partial) != 4 {
		t.Errorf("%d datagrams wait, want 4", len(r.partial))
	}
}

func TestFragmentsAreBounded(t *testing.T) {
	c := newCutting(true)
	whole := c.datagram(1000)
	r, dropped, dst, now := new(reassembly), new(drops), make([]byte, maxWhole), time.Now()
	for id := range uint32(maxPartial + 10) {
		r.add(c.piece(whole, 0, 800, true, id), dst, now, dropped)
	}
	if got := droppedBy(dropped); len(r.partial) != maxPartial || got["fragment_crowded"] != 10 {
		t.Errorf("%d wait, dropped %v", len(r.partial), got)
	}
	if r.add(c.piece(whole, 800, 1000, false, 10), dst, now, dropped) == 0 {
		t.Error("the oldest that was left is not complete")
	}
	// Too late.
	later := now.Add(piecePatience + 1)
	if r.add(c.piece(whole, 800, 1000, false, 20), dst, later, dropped) != 0 {
		t.Error("complete after its time")
	}
	r.sweep(later, dropped)
	if got := droppedBy(dropped); got["fragment_incomplete"] != maxPartial-1 || len(r.partial) != 1 {
		t.Errorf("%d wait, dropped %v", len(r.partial), got)
	}
	requireFree(t, r)
	if n := testing.AllocsPerRun(100, func() {
		r.add(c.piece(whole, 0, 800, true, 7), dst, now, dropped)
	}) - testing.AllocsPerRun(100, func() {
		c.piece(whole, 0, 800, true, 7)
	}); n > 0 {
		t.Errorf("%v allocations per fragment", n)
	}
}

// reference is the slow and obvious way: all bytes of a datagram in a map.
type reference struct {
	payload map[int]byte
	total   int
	broken  bool
}

// add returns the payload if it is complete.
func (d *reference) add(payload []byte, from int, more bool) []byte {
	for i, b := range payload {
		if _, again := d.payload[from+i]; again || d.total > 0 && from+i >= d.total {
			d.broken = true
		}
		d.payload[from+i] = b
	}
	if !more {
		d.broken = d.broken || d.total > 0
		d.total = from + len(payload)
		for at := range d.payload {
			d.broken = d.broken || at >= d.total
		}
	}
	if d.broken || len(d.payload) != d.total {
		return nil
	}
	var all []byte
	for i := range d.total {
		all = append(all, d.payload[i])
	}
	return all
}

func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 0, 100, 1, 0, 100, 20, 0})
	f.Add([]byte{1, 100, 20, 0, 1, 0, 100, 1})
	f.Add([]byte{0, 0, 64, 1, 0, 128, 64, 0, 1, 0, 64, 1, 0, 64, 64, 1})
	f.Add([]byte{0, 0, 64, 1, 0, 32, 64, 1, 0, 128, 8, 0})
	c4, c6 := newCutting(false), newCutting(true)
	w4, w6 := c4.datagram(8192), c6.datagram(8192)
	f.Fuzz(func(t *testing.T, script []byte) {
		r, dropped, dst, now := new(reassembly), new(drops), make([]byte, maxWhole), time.Now()
		want := map[byte]*reference{}
		for ; len(script) >= 4; script = script[4:] {
			id, from, size, more := script[0]%8, int(script[1])*8, int(script[2])*8+int(script[3]>>4), script[3]&1 != 0
			c, whole := c4, w4
			if id&1 != 0 {
				c, whole = c6, w6
			}
			headers := c.outer.Len() - packet.UDPLen
			refused := size == 0 || more && (size%8 != 0 || size < 512) || headers+from+size > maxWhole
			n := r.add(c.piece(whole, from, from+size, more, uint32(id)), dst, now, dropped)
			if refused || from == 0 && !more {
				if (n != 0) == refused {
					t.Fatalf("from %d, %d bytes: %d", from, size, n)
				}
				continue
			}
			d := want[id]
			if d == nil {
				d = &reference{payload: map[int]byte{}}
				want[id] = d
			}
			all := d.add(whole[headers+from:headers+from+size], from, more)
			if (n != 0) != (all != nil) || n != 0 && !bytes.Equal(dst[headers:n], all) {
				t.Fatalf("id %d, from %d: %d bytes, want %d and headers", id, from, n, len(all))
			}
			if all != nil {
				delete(want, id)
			}
		}
		if len(r.partial) != len(want) {
			t.Fatalf("%d wait, want %d", len(r.partial), len(want))
		}
		requireFree(t, r)
	})
}

func BenchmarkReassembly(b *testing.B) {
	c := newCutting(false)
	whole := c.datagram(1310)
	first, last := c.piece(whole, 0, 1256, true, 7), c.piece(whole, 1256, 1310, false, 7)
	r, dropped, dst, now := new(reassembly), new(drops), make([]byte, maxWhole), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		r.add(first, dst, now, dropped)
		if r.add(last, dst, now, dropped) == 0 {
			b.Fatal("not complete")
		}
	}
}
