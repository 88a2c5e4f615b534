// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// reference is the classifier said once more, in Go and by another road: it
// cuts slices where the program counts. first tells whether the first fragment of
// a datagram was redirected.
func reference(frame []byte, first map[string]bool) string {
	typ, packet, verdict := referenceLink(frame)
	if verdict != "" {
		return verdict
	}
	switch typ {
	case typeIPv4:
		return referenceIPv4(packet, first)
	case typeIPv6:
		return referenceIPv6(packet, first)
	}
	return "pass_not_ip"
}

func referenceLink(frame []byte) (typ uint16, packet []byte, verdict string) {
	typ, packet = binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for depth := 0; typ == typeVLAN || typ == typeService; depth++ {
		if depth == 2 {
			return 0, nil, "pass_tags"
		}
		if len(packet) < 4 {
			return 0, nil, "pass_truncated"
		}
		if depth == 0 && typ == typeVLAN && binary.BigEndian.Uint16(packet)%4096 == heldVLAN {
			return 0, nil, "redirect_vlan"
		}
		typ, packet = binary.BigEndian.Uint16(packet[2:]), packet[4:]
	}
	return typ, packet, ""
}

func referenceIPv4(packet []byte, first map[string]bool) string {
	if len(packet) < 20 {
		return "pass_truncated"
	}
	header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
	switch {
	case packet[0]>>4 != 4 || header < 20 || total < header:
		return "pass_malformed"
	case total > len(packet):
		return "pass_truncated"
	case packet[9] != protoUDP:
		return "pass_not_udp"
	}
	to := netip.AddrFrom4([4]byte(packet[16:20]))
	name := "4" + string(packet[12:20]) + string(packet[4:6])
	fragment := binary.BigEndian.Uint16(packet[6:]) & 0x3fff
	return referenceDatagram(packet[header:total], to, fragment&0x1fff != 0, fragment == 0x2000, name, first)
}

func referenceIPv6(packet []byte, first map[string]bool) (verdict string) {
	if len(packet) < 40 {
		return "pass_truncated"
	}
	total := int(binary.BigEndian.Uint16(packet[4:]))
	if packet[0]>>4 != 6 || total == 0 {
		return "pass_malformed"
	}
	if total > len(packet)-40 {
		return "pass_truncated"
	}
	to := netip.AddrFrom16([16]byte(packet[24:40]))
	name := ""
	next, rest := packet[6], packet[40:40+total]
	var fragmented, isFirst bool
	defer func() {
		if isFirst { // whatever it carries
			first[name] = verdict[0] == 'r'
		}
	}()
	for headers := 0; next != protoUDP; headers++ {
		switch next {
		case protoHopByHop, protoRouting, protoDestination, protoAH, protoFragment:
		default:
			return "pass_not_udp"
		}
		if headers == 6 {
			return "pass_extensions"
		}
		if len(rest) < 8 {
			return "pass_truncated"
		}
		size := 8 + 8*int(rest[1])
		switch next {
		case protoFragment:
			if fragmented {
				return "pass_malformed"
			}
			size = 8
			offset := binary.BigEndian.Uint16(rest[2:])
			name = "6" + string(packet[8:40]) + string(rest[4:8])
			if offset>>3 != 0 {
				return referenceDatagram(nil, to, true, false, name, first)
			}
			fragmented, isFirst = true, offset&1 != 0
		case protoAH:
			size = 8 + 4*int(rest[1])
		case protoRouting:
			if rest[3] != 0 {
				return "pass_not_final"
			}
		}
		if len(rest) < size {
			return "pass_truncated"
		}
		next, rest = rest[0], rest[size:]
	}
	return referenceDatagram(rest, to, false, isFirst, name, first)
}

func referenceDatagram(datagram []byte, to netip.Addr, isLater, isFirst bool, name string, first map[string]bool) string {
	if isLater {
		if first[name] {
			return "redirect_fragment"
		}
		return "pass_fragment_unknown"
	}
	verdict := referenceUDP(datagram, to, isFirst)
	if isFirst {
		first[name] = verdict[0] == 'r'
	}
	return verdict
}

func referenceUDP(datagram []byte, to netip.Addr, isFirst bool) string {
	if len(datagram) < 8 {
		return "pass_truncated"
	}
	port, length := binary.BigEndian.Uint16(datagram[2:]), int(binary.BigEndian.Uint16(datagram[4:]))
	if length < 8 || length > len(datagram) && !isFirst {
		return "pass_malformed"
	}
	selective := false
	for _, p := range harnessPinholes {
		if p.Addr == to && p.Port == port && p.VNI == AnyVNI {
			return "redirect_pinhole"
		}
		selective = selective || p.Addr == to && p.Port == port
	}
	if !selective {
		return "pass_no_pinhole"
	}
	if length < 16 {
		return "pass_not_vxlan"
	}
	if len(datagram) < 16 {
		return "pass_truncated"
	}
	if datagram[8]&8 == 0 {
		return "pass_not_vxlan"
	}
	for _, p := range harnessPinholes {
		if p.Addr == to && p.Port == port && uint32(p.VNI) == binary.BigEndian.Uint32(datagram[12:])>>8 {
			return "redirect_vni"
		}
	}
	return "pass_no_vni"
}

// requireAsReference compares the program with the reference.
func (h *harness) requireAsReference(tb testing.TB, frame []byte, first map[string]bool) string {
	tb.Helper()
	want := reference(frame, first)
	verdict, moved := h.run(tb, frame)
	require.Len(tb, moved, 1)
	require.Equal(tb, want, moved[0].Name(), "%x", frame)
	require.Equal(tb, moved[0].Verdict == Redirect, verdict == xdpRedirect)
	return want
}

// randomFrame is mostly a frame of headers that are nearly right, in a random
// order of layers, cut or with bytes changed now and then.
func randomFrame(r *rand.Rand) []byte {
	pick := func(values ...uint16) uint16 { return values[r.IntN(len(values))] }
	var layers []layer
	typ := pick(typeIPv4, typeIPv4, typeIPv6, typeIPv6, typeARP)
	types := []uint16{typ}
	for range []int{0, 0, 0, 1, 1, 2, 2, 3}[r.IntN(8)] {
		types = append([]uint16{pick(typeVLAN, typeService)}, types...)
	}
	layers = append(layers, ethernet{types[0]})
	for _, t := range types[1:] {
		layers = append(layers, tag{pick(1, 2, heldVLAN, 0xe000|heldVLAN, 7), t})
	}
	id, offset := pick(1, 2, 3), pick(0, 0, 0, 1, 2)
	if typ == typeIPv4 {
		h := ipv4{id: id, fragment: offset, options: octets(4 * r.IntN(11)), src: client4, dst: tunnel4}
		if r.IntN(4) == 0 {
			h.fragment |= more4
		}
		if r.IntN(6) == 0 {
			h.dst = other4
		}
		if r.IntN(6) == 0 {
			h.proto = uint8(pick(protoICMP, protoTCP, protoESP))
		}
		layers = append(layers, h)
	} else {
		layers = append(layers, randomIPv6(r, uint32(id), offset)...)
	}
	layers = append(layers, udp{dst: pick(wholePort, vxlanPort, vxlanPort, closedPort), length: int(pick(0, 0, 0, 0, 8, 15, 16, 7, 100))},
		vxlan{vni: uint32([]int{openVNI, openVNI6, closedVNI}[r.IntN(3)]), flags: uint8(pick(8, 8, 8, 4))}, octets(r.IntN(30)))
	frame := build(layers...)
	switch r.IntN(4) {
	case 0:
		frame = frame[:14+r.IntN(len(frame)-13)]
	case 1:
		for range 1 + r.IntN(3) {
			frame[r.IntN(len(frame))] = byte(r.Uint32())
		}
	}
	return frame
}

func randomIPv6(r *rand.Rand, id uint32, offset uint16) []layer {
	dst := tunnel6
	if r.IntN(6) == 0 {
		dst = other6
	}
	var chain []uint8
	for range max(0, r.IntN(11)-3) {
		chain = append(chain, []uint8{protoHopByHop, protoRouting, protoDestination, protoAH, protoFragment}[r.IntN(5)])
	}
	chain = append(chain, []uint8{protoUDP, protoUDP, protoUDP, protoUDP, protoICMPv6}[r.IntN(5)])
	layers := []layer{ipv6{dst: dst, next: chain[0]}}
	for i, kind := range chain[:len(chain)-1] {
		length := r.IntN(3)
		switch kind {
		case protoFragment:
			layers = append(layers, fragment6{next: chain[i+1], offset: offset<<3 | uint16(r.IntN(2)), id: id})
		case protoAH:
			layers = append(layers, extension{next: chain[i+1], length: uint8(length), more: 4 * length})
		case protoRouting:
			layers = append(layers, extension{next: chain[i+1], length: uint8(length), left: uint8(r.IntN(8) / 7), more: 8 * length})
		default:
			layers = append(layers, extension{next: chain[i+1], length: uint8(length), more: 8 * length})
		}
	}
	return layers
}

// TestRandomFramesAsReference also makes sure that the frames reach every
// verdict but those that take time or a missing socket.
func TestRandomFramesAsReference(t *testing.T) {
	h := newHarness(t)
	r := rand.New(rand.NewPCG(4789, 51820))
	first := make(map[string]bool)
	reached := make(map[string]int)
	for range 20000 {
		reached[h.requireAsReference(t, randomFrame(r), first)]++
	}
	for _, c := range reasons {
		switch c.Name() {
		case "pass_no_socket", "pass_fragment_expired":
			require.Zero(t, reached[c.Name()])
		default:
			require.NotZero(t, reached[c.Name()], "no random frame left as %s", c.Name())
		}
	}
	t.Log(reached)
}

func FuzzFramesAsReference(f *testing.F) {
	h := newHarness(f)
	for _, group := range [][]verdictCase{pinholeCases(), vniCases(), vlanCases(), ipv4Cases(), ipv6Cases(), fragmentCases(), otherCases()} {
		for _, c := range group {
			f.Add(c.frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		// An interface delivers no less; the kernel's test run takes no more.
		if len(frame) < 14 || len(frame) > 16384 {
			t.Skip()
		}
		if err := errors.Join(empty[bpfFragmentKey](h.objects.Fragments)); err != nil {
			t.Fatal(err)
		}
		first := make(map[string]bool)
		h.requireAsReference(t, frame, first)
		h.requireAsReference(t, frame, first)
	})
}
