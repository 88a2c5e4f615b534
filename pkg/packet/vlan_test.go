// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
)

func TestVLANOfAFrame(t *testing.T) {
	const macs = "020000000002" + "020000000001"
	for _, c := range []struct {
		name, frame string
		id          uint16
	}{
		{"a tag", macs + "81000064" + "0800" + "45", 100},
		{"the least id", macs + "81000001" + "0800", 1},
		{"the greatest id", macs + "81000ffe" + "0800", 4094},
		{"priority and drop eligibility do not count", macs + "8100f064" + "0800", 100},
		{"two tags: the outer one counts", macs + "81000064" + "810000c8" + "0800", 100},
		{"priority tag", macs + "8100e000" + "0800", 0},
		{"no tag", macs + "0800" + "81000064" + "0800", 0},
		{"service tag", macs + "88a80064" + "0800", 0},
		{"service tag outside", macs + "88a80064" + "810000c8" + "0800", 0},
		{"no EtherType behind the tag", macs + "81000064" + "08", 0},
		{"ends within the tag", macs + "810000", 0},
		{"ends within the addresses", macs[:20], 0},
		{"nothing", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame, err := hex.DecodeString(c.frame)
			if err != nil {
				t.Fatal(err)
			}
			if got := VLAN(frame); got != c.id {
				t.Errorf("VLAN %d, want %d", got, c.id)
			}
		})
	}
}

// What is pushed can be popped, and the frame is what it was; no frame, however
// damaged, is read or written beyond its end.
func FuzzVLAN(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00payload"), uint16(100))
	f.Add([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x81\x00\x00\xc8\x08\x00payload"), uint16(4094))
	f.Add([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x81\x00\x00"), uint16(1))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, frame []byte, id uint16) {
		frame = slices.Clip(frame)
		if VLAN(frame) != 0 {
			popped := bytes.Clone(frame)
			PopVLAN(popped)
			want := append(bytes.Clone(frame[:12]), frame[16:]...)
			if !bytes.Equal(popped[TagLen:], want) {
				t.Errorf("% x popped is % x", frame, popped[TagLen:])
			}
		}
		if len(frame) < EthernetLen {
			return
		}
		b := append(make([]byte, TagLen), frame...)
		PushVLAN(b, id)
		if got := VLAN(b); got != id&idMask {
			t.Fatalf("VLAN %d, want %d", got, id&idMask)
		}
		if !bytes.Equal(b[TagLen+12:], frame[12:]) {
			t.Errorf("% x pushed is % x", frame, b)
		}
		PopVLAN(b)
		if !bytes.Equal(b[TagLen:], frame) {
			t.Errorf("% x popped is % x, was % x", b, b[TagLen:], frame)
		}
	})
}
