// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

func TestSumIsGVisors(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 4096)
	for n := range 600 {
		_, _ = random.Read(b)
		start := int(random.Uint64() % 64)
		var got [2]byte
		Sum(0).Add(b[start : start+n]).Put(got[:])
		if want := ^checksum.Checksum(b[start:start+n], 0); binary.BigEndian.Uint16(got[:]) != want {
			t.Fatalf("%d bytes: %#x, want %#x", n, got, want)
		}
		// In two parts, the first of even length.
		cut := n / 2 &^ 1
		Sum(0).Add(b[start : start+cut]).Add(b[start+cut : start+n]).Put(got[:])
		if want := ^checksum.Checksum(b[start:start+n], 0); binary.BigEndian.Uint16(got[:]) != want {
			t.Fatalf("%d bytes in two parts: %#x, want %#x", n, got, want)
		}
	}
}

// The example of RFC 1071, section 3.
func TestSumOfRFC1071(t *testing.T) {
	var got [2]byte
	Sum(0).Add([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}).Put(got[:])
	if want := ^uint16(0xddf2); binary.BigEndian.Uint16(got[:]) != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

func TestCarriesAreNotLost(t *testing.T) {
	ones := make([]byte, 1<<16)
	for i := range ones {
		ones[i] = 0xff
	}
	if s := Sum(0).Add(ones).Add(ones).Word(0xffff); s.fold() != 0xffff {
		t.Errorf("%#x", s.fold())
	}
	var got [2]byte
	Sum(0).Add(ones).Word(1).Put(got[:])
	if binary.BigEndian.Uint16(got[:]) != 0xfffe {
		t.Errorf("%#x, want 0xfffe", got)
	}
}

func TestFinishChecksum(t *testing.T) {
	for _, p := range variants() {
		p.payload = bytesOf(101)
		b, o := p.large(1000)
		o.GSOType = GSONone
		if !o.FinishChecksum(b) {
			t.Fatalf("%v: refused", p)
		}
		p.valid(t, b)
		o.CsumStart = uint16(len(b))
		if o.FinishChecksum(b) {
			t.Errorf("%v: checksum outside of the packet", p)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	data := bytesOf(1448)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		var s Sum
		for b.Loop() {
			s = s.Add(data)
		}
	})
	b.Run("gvisor", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		var s uint16
		for b.Loop() {
			s = checksum.Checksum(data, s)
		}
	})
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		to := make([]byte, len(data))
		for b.Loop() {
			copy(to, data)
		}
	})
}
