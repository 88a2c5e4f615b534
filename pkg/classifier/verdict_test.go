// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// verdictCase is a frame and the counter under which it must leave.
type verdictCase struct {
	name  string
	frame []byte
	want  string
	// earlier frames run before, whatever becomes of them.
	earlier [][]byte
	// prepare runs between the earlier frames and this one.
	prepare func(testing.TB, *harness)
}

func TestVerdicts(t *testing.T) {
	h := newHarness(t)
	var cases []verdictCase
	for _, group := range [][]verdictCase{
		pinholeCases(), vniCases(), vlanCases(), ipv4Cases(), ipv6Cases(),
		fragmentCases(), otherCases(), cutCases(), shortCases(),
	} {
		cases = append(cases, group...)
	}
	seen := make(map[string]bool)
	for _, c := range cases {
		require.False(t, seen[c.name], "two cases are named %q", c.name)
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, empty[bpfFragmentKey](h.objects.Fragments))
			for _, f := range c.earlier {
				h.run(t, f)
			}
			if c.prepare != nil {
				c.prepare(t, h)
			}
			verdict, moved := h.run(t, c.frame)
			require.Len(t, moved, 1, "every frame is counted once: %v", moved)
			require.Equal(t, c.want, moved[0].Name())
			require.EqualValues(t, 1, moved[0].Packets)
			require.EqualValues(t, len(c.frame), moved[0].Bytes)
			if moved[0].Verdict == Redirect {
				require.EqualValues(t, xdpRedirect, verdict)
			} else {
				require.EqualValues(t, xdpPass, verdict)
			}
		})
	}
	t.Logf("%d frames", len(cases))
}

func wholeDatagram4(dst netip.Addr, port uint16) []byte {
	return build(ethernet{typeIPv4}, ipv4{dst: dst}, udp{dst: port}, octets(32))
}

func wholeDatagram6(dst netip.Addr, port uint16) []byte {
	return build(ethernet{typeIPv6}, ipv6{dst: dst, next: protoUDP}, udp{dst: port}, octets(32))
}

func pinholeCases() []verdictCase {
	mapped := netip.AddrFrom16(tunnel4.As16())
	return []verdictCase{
		{name: "IPv4 to the open port", frame: wholeDatagram4(tunnel4, wholePort), want: "redirect_pinhole"},
		{name: "IPv6 to the open port", frame: wholeDatagram6(tunnel6, wholePort), want: "redirect_pinhole"},
		{name: "IPv4 to another address", frame: wholeDatagram4(other4, wholePort), want: "pass_no_pinhole"},
		{name: "IPv6 to another address", frame: wholeDatagram6(other6, wholePort), want: "pass_no_pinhole"},
		{name: "IPv4 to a closed port", frame: wholeDatagram4(tunnel4, closedPort), want: "pass_no_pinhole"},
		{name: "IPv6 to a closed port", frame: wholeDatagram6(tunnel6, closedPort), want: "pass_no_pinhole"},
		{name: "IPv4 from the open port only", frame: build(ethernet{typeIPv4}, ipv4{},
			bytesOf{wholePort >> 8, wholePort & 0xff, 0, 53, 0, 8, 0, 0}), want: "pass_no_pinhole"},
		{name: "IPv6 to the IPv4-mapped tunnel address", frame: wholeDatagram6(mapped, wholePort), want: "pass_no_pinhole"},
		{name: "IPv6 whose first bytes are the IPv4 tunnel address", frame: wholeDatagram6(
			netip.AddrFrom16([16]byte{192, 0, 2, 1}), wholePort), want: "pass_no_pinhole"},
		{name: "IPv4 broadcast to the open port", frame: wholeDatagram4(netip.MustParseAddr("255.255.255.255"), wholePort), want: "pass_no_pinhole"},
		{name: "TCP to the number of the open port", frame: build(ethernet{typeIPv4}, ipv4{proto: protoTCP},
			udp{dst: wholePort}, octets(32)), want: "pass_not_udp"},
		{name: "TCP over IPv6 to the number of the open port", frame: build(ethernet{typeIPv6}, ipv6{next: protoTCP},
			udp{dst: wholePort}, octets(32)), want: "pass_not_udp"},
		{name: "datagram without payload", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort}), want: "redirect_pinhole"},
		{name: "datagram padded to 60 bytes", frame: build(ethernet{typeIPv4}, ipv4{total: 28},
			udp{dst: wholePort, length: 8}, octets(18)), want: "redirect_pinhole"},
		{name: "UDP length zero", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort, length: -1}, octets(8)), want: "pass_malformed"},
		{name: "UDP length below its header", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort, length: 7}, octets(8)), want: "pass_malformed"},
		{name: "UDP length beyond the packet", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort, length: 17}, octets(8)), want: "pass_malformed"},
		{name: "UDP length zero over IPv6", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP},
			udp{dst: wholePort, length: -1}, octets(8)), want: "pass_malformed"},
		{name: "UDP length less than the packet", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort, length: 12}, octets(8)), want: "redirect_pinhole"},
		{name: "jumbo datagram of several buffers", frame: build(ethernet{typeIPv4}, ipv4{}, udp{dst: wholePort}, octets(8950)), want: "redirect_pinhole"},
		{name: "jumbo datagram to a closed port", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP}, udp{dst: closedPort}, octets(8900)), want: "pass_no_pinhole"},
	}
}

func vniCases() []verdictCase {
	inner := build(ethernet{typeIPv4}, ipv4{dst: other4}, udp{dst: 53}, octets(20))
	to4 := func(l ...layer) []byte {
		return build(append([]layer{ethernet{typeIPv4}, ipv4{}, udp{dst: vxlanPort}}, l...)...)
	}
	to6 := func(l ...layer) []byte {
		return build(append([]layer{ethernet{typeIPv6}, ipv6{next: protoUDP}, udp{dst: vxlanPort}}, l...)...)
	}
	return []verdictCase{
		{name: "open VNI", frame: to4(vxlan{vni: openVNI}, bytesOf(inner)), want: "redirect_vni"},
		{name: "closed VNI", frame: to4(vxlan{vni: closedVNI}, bytesOf(inner)), want: "pass_no_vni"},
		{name: "VNI zero", frame: to4(vxlan{vni: 0}, bytesOf(inner)), want: "pass_no_vni"},
		{name: "open VNI of IPv6", frame: to6(vxlan{vni: openVNI6}, bytesOf(inner)), want: "redirect_vni"},
		{name: "VNI open only for IPv4, over IPv6", frame: to6(vxlan{vni: openVNI}, bytesOf(inner)), want: "pass_no_vni"},
		{name: "VNI open only for IPv6, over IPv4", frame: to4(vxlan{vni: openVNI6}, bytesOf(inner)), want: "pass_no_vni"},
		{name: "open VNI at another address", frame: build(ethernet{typeIPv4}, ipv4{dst: other4}, udp{dst: vxlanPort},
			vxlan{vni: openVNI}, bytesOf(inner)), want: "pass_no_pinhole"},
		{name: "VXLAN without the I flag", frame: to4(vxlan{vni: openVNI, flags: 0x04}, bytesOf(inner)), want: "pass_not_vxlan"},
		{name: "VXLAN with the I flag and others", frame: to4(vxlan{vni: openVNI, flags: 0x8c}, bytesOf(inner)), want: "redirect_vni"},
		{name: "VXLAN with its reserved byte set", frame: to4(vxlan{vni: openVNI, low: 0xff}, bytesOf(inner)), want: "redirect_vni"},
		{name: "VXLAN header without a frame", frame: to4(vxlan{vni: openVNI}), want: "redirect_vni"},
		{name: "empty datagram to the VXLAN port", frame: to4(), want: "pass_not_vxlan"},
		{name: "datagram too short for VXLAN", frame: to4(octets(7)), want: "pass_not_vxlan"},
		{name: "UDP length too short for VXLAN in a longer packet", frame: build(ethernet{typeIPv4}, ipv4{},
			udp{dst: vxlanPort, length: 15}, vxlan{vni: openVNI}, bytesOf(inner)), want: "pass_not_vxlan"},
		{name: "jumbo VXLAN of an open VNI", frame: to4(vxlan{vni: openVNI}, octets(8900)), want: "redirect_vni"},
		{name: "jumbo VXLAN of a closed VNI", frame: to4(vxlan{vni: closedVNI}, octets(8900)), want: "pass_no_vni"},
	}
}

func vlanCases() []verdictCase {
	ip := build(ipv4{}, udp{dst: wholePort}, octets(32))
	return []verdictCase{
		{name: "one tag", frame: build(ethernet{typeVLAN}, tag{7, typeIPv4}, bytesOf(ip)), want: "redirect_pinhole"},
		{name: "priority tag", frame: build(ethernet{typeVLAN}, tag{5 << 13, typeIPv4}, bytesOf(ip)), want: "redirect_pinhole"},
		{name: "service and customer tag", frame: build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeIPv4}, bytesOf(ip)), want: "redirect_pinhole"},
		{name: "two customer tags", frame: build(ethernet{typeVLAN}, tag{7, typeVLAN}, tag{8, typeIPv4}, bytesOf(ip)), want: "redirect_pinhole"},
		{name: "two tags before IPv6", frame: build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeIPv6},
			ipv6{next: protoUDP}, udp{dst: wholePort}), want: "redirect_pinhole"},
		{name: "two tags before another address", frame: build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeIPv4},
			ipv4{dst: other4}, udp{dst: wholePort}), want: "pass_no_pinhole"},
		{name: "three tags", frame: build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeVLAN}, tag{9, typeIPv4}, bytesOf(ip)), want: "pass_tags"},
		{name: "tag before ARP", frame: build(ethernet{typeVLAN}, tag{7, typeARP}, octets(28)), want: "pass_not_ip"},
		{name: "held id", frame: build(ethernet{typeVLAN}, tag{heldVLAN, typeIPv4}, ipv4{dst: other4}, udp{dst: 53}), want: "redirect_vlan"},
		{name: "held id with priority", frame: build(ethernet{typeVLAN}, tag{7<<13 | heldVLAN, typeARP}, octets(28)), want: "redirect_vlan"},
		{name: "held id before more tags", frame: build(ethernet{typeVLAN}, tag{heldVLAN, typeVLAN}, tag{1, typeVLAN}, tag{2, typeVLAN}), want: "redirect_vlan"},
		{name: "held id before nothing", frame: build(ethernet{typeVLAN}, tag{heldVLAN, typeIPv4}), want: "redirect_vlan"},
		{name: "another id", frame: build(ethernet{typeVLAN}, tag{heldVLAN + 1, typeARP}, octets(28)), want: "pass_not_ip"},
		{name: "held id as inner tag", frame: build(ethernet{typeVLAN}, tag{7, typeVLAN}, tag{heldVLAN, typeARP}, octets(28)), want: "pass_not_ip"},
		{name: "held id as service tag", frame: build(ethernet{typeService}, tag{heldVLAN, typeARP}, octets(28)), want: "pass_not_ip"},
		{name: "jumbo frame of a held id", frame: build(ethernet{typeVLAN}, tag{heldVLAN, typeIPv4}, octets(8996)), want: "redirect_vlan"},
	}
}

func ipv4Cases() []verdictCase {
	datagram := build(udp{dst: wholePort}, octets(16))
	return []verdictCase{
		{name: "4 bytes of options", frame: build(ethernet{typeIPv4}, ipv4{options: octets(4)}, bytesOf(datagram)), want: "redirect_pinhole"},
		{name: "40 bytes of options", frame: build(ethernet{typeIPv4}, ipv4{options: octets(40)}, bytesOf(datagram)), want: "redirect_pinhole"},
		{name: "options that look like the open port", frame: build(ethernet{typeIPv4},
			ipv4{options: build(udp{dst: wholePort})}, udp{dst: closedPort}, octets(16)), want: "pass_no_pinhole"},
		{name: "header length 4", frame: build(ethernet{typeIPv4}, ipv4{first: 0x44}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "header length 0", frame: build(ethernet{typeIPv4}, ipv4{first: 0x40}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "header length beyond the packet", frame: build(ethernet{typeIPv4}, ipv4{first: 0x4f}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "version 6 in an IPv4 frame", frame: build(ethernet{typeIPv4}, ipv4{first: 0x65}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "total length below the header", frame: build(ethernet{typeIPv4}, ipv4{total: 19}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "total length without room for UDP", frame: build(ethernet{typeIPv4}, ipv4{total: 27}, bytesOf(datagram)), want: "pass_truncated"},
		{name: "total length beyond the frame", frame: build(ethernet{typeIPv4}, ipv4{total: 45}, bytesOf(datagram)), want: "pass_truncated"},
		{name: "total length with less than the UDP length", frame: build(ethernet{typeIPv4}, ipv4{total: 43}, bytesOf(datagram)), want: "pass_malformed"},
		{name: "don't fragment", frame: build(ethernet{typeIPv4}, ipv4{fragment: 0x4000}, bytesOf(datagram)), want: "redirect_pinhole"},
		{name: "evil bit (RFC 3514)", frame: build(ethernet{typeIPv4}, ipv4{fragment: 0x8000}, bytesOf(datagram)), want: "redirect_pinhole"},
		{name: "ICMP", frame: build(ethernet{typeIPv4}, ipv4{proto: protoICMP}, octets(64)), want: "pass_not_udp"},
		{name: "ESP", frame: build(ethernet{typeIPv4}, ipv4{proto: protoESP}, bytesOf(datagram)), want: "pass_not_udp"},
		{name: "IPv6 in IPv4", frame: build(ethernet{typeIPv4}, ipv4{proto: 41}, ipv6{next: protoUDP}, bytesOf(datagram)), want: "pass_not_udp"},
	}
}

func ipv6Cases() []verdictCase {
	datagram := bytesOf(build(udp{dst: wholePort}, octets(16)))
	with := func(first uint8, l ...layer) []byte {
		return build(append([]layer{ethernet{typeIPv6}, ipv6{next: first}}, l...)...)
	}
	var six []layer
	for range 5 {
		six = append(six, extension{next: protoDestination})
	}
	six = append(six, extension{next: protoUDP}, datagram)
	seven := append([]layer{extension{next: protoDestination}}, six...)
	return []verdictCase{
		{name: "hop-by-hop header", frame: with(protoHopByHop, extension{next: protoUDP}, datagram), want: "redirect_pinhole"},
		{name: "routing header that is used up", frame: with(protoRouting, extension{next: protoUDP, length: 2, more: 16}, datagram), want: "redirect_pinhole"},
		{name: "routing header with segments left", frame: with(protoRouting, extension{next: protoUDP, length: 2, left: 1, more: 16}, datagram), want: "pass_not_final"},
		{name: "destination options", frame: with(protoDestination, extension{next: protoUDP, length: 1, more: 8}, datagram), want: "redirect_pinhole"},
		{name: "destination options that look like segments left", frame: with(protoDestination, extension{next: protoUDP, left: 1}, datagram), want: "redirect_pinhole"},
		{name: "destination options of 2048 bytes", frame: with(protoDestination, extension{next: protoUDP, length: 255, more: 2040}, datagram), want: "redirect_pinhole"},
		{name: "authentication header", frame: with(protoAH, extension{next: protoUDP, length: 4, more: 16}, datagram), want: "redirect_pinhole"},
		{name: "authentication header with 12 bytes of check value", frame: with(protoAH, extension{next: protoUDP, length: 5, more: 20}, datagram), want: "redirect_pinhole"},
		{name: "atomic fragment", frame: with(protoFragment, fragment6{next: protoUDP, id: 9}, datagram), want: "redirect_pinhole"},
		{name: "hop-by-hop, routing, fragment, AH and destination", frame: with(protoHopByHop, extension{next: protoRouting},
			extension{next: protoFragment}, fragment6{next: protoAH}, extension{next: protoDestination, length: 1, more: 4},
			extension{next: protoUDP}, datagram), want: "redirect_pinhole"},
		{name: "six extension headers", frame: with(protoDestination, six...), want: "redirect_pinhole"},
		{name: "seven extension headers", frame: with(protoDestination, seven...), want: "pass_extensions"},
		{name: "seventh extension header is a fragment header", frame: with(protoDestination, append(append([]layer{}, six[:5]...),
			extension{next: protoFragment}, fragment6{next: protoUDP}, datagram)...), want: "pass_extensions"},
		{name: "two fragment headers", frame: with(protoFragment, fragment6{next: protoFragment, offset: 1}, fragment6{next: protoUDP}, datagram), want: "pass_malformed"},
		{name: "two fragment headers, the first atomic", frame: with(protoFragment, fragment6{next: protoFragment}, fragment6{next: protoUDP}, datagram), want: "pass_malformed"},
		{name: "extension header longer than the packet", frame: with(protoDestination, extension{next: protoUDP, length: 10}, datagram), want: "pass_truncated"},
		{name: "no next header", frame: with(protoNone, datagram), want: "pass_not_udp"},
		{name: "ESP over IPv6", frame: with(protoESP, datagram), want: "pass_not_udp"},
		{name: "hop-by-hop header before TCP", frame: with(protoHopByHop, extension{next: protoTCP}, datagram), want: "pass_not_udp"},
		{name: "extension header, then a closed port", frame: with(protoHopByHop, extension{next: protoUDP}, udp{dst: closedPort}), want: "pass_no_pinhole"},
		{name: "neighbour solicitation", frame: with(protoICMPv6, bytesOf{135, 0, 0, 0}, octets(20)), want: "pass_not_udp"},
		{name: "multicast listener report with hop-by-hop header", frame: with(protoHopByHop, extension{next: protoICMPv6}, octets(20)), want: "pass_not_udp"},
		{name: "version 4 in an IPv6 frame", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP, version: 4}, datagram), want: "pass_malformed"},
		{name: "payload length zero", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP, payload: -1}, datagram), want: "pass_malformed"},
		{name: "payload length beyond the frame", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP, payload: 25}, datagram), want: "pass_truncated"},
		{name: "payload length without room for UDP", frame: build(ethernet{typeIPv6}, ipv6{next: protoUDP, payload: 7}, datagram), want: "pass_truncated"},
		{name: "payload length within an extension header", frame: build(ethernet{typeIPv6}, ipv6{next: protoHopByHop, payload: 12},
			extension{next: protoUDP, length: 1, more: 8}, datagram), want: "pass_truncated"},
	}
}

// In fragments: a datagram of 8 + 24 bytes in two pieces.
const (
	more4   = 0x2000
	offset4 = 2      // 16 bytes
	more6   = 1      // and offset zero
	offset6 = 2 << 3 // 16 bytes
)

func first4(id, port uint16) []byte {
	return build(ethernet{typeIPv4}, ipv4{id: id, fragment: more4}, udp{dst: port, length: 32}, octets(8))
}

func later4(id uint16) []byte {
	return build(ethernet{typeIPv4}, ipv4{id: id, fragment: offset4}, octets(16))
}

func first6(id uint32, port uint16) []byte {
	return build(ethernet{typeIPv6}, ipv6{next: protoFragment}, fragment6{next: protoUDP, offset: more6, id: id},
		udp{dst: port, length: 32}, octets(8))
}

func later6(id uint32, next uint8) []byte {
	return build(ethernet{typeIPv6}, ipv6{next: protoFragment}, fragment6{next: next, offset: offset6, id: id}, octets(16))
}

// age makes all remembered first fragments older than they can get.
func age(tb testing.TB, h *harness) {
	var keys []bpfFragmentKey
	var key bpfFragmentKey
	var value bpfFragment
	for entries := h.objects.Fragments.Iterate(); entries.Next(&key, &value); {
		keys = append(keys, key)
	}
	require.NotEmpty(tb, keys)
	for _, key := range keys {
		require.NoError(tb, h.objects.Fragments.Put(key, bpfFragment{Seen: 1}))
	}
}

func fragmentCases() []verdictCase {
	firstVNI := build(ethernet{typeIPv4}, ipv4{id: 6, fragment: more4}, udp{dst: vxlanPort, length: 64}, vxlan{vni: openVNI})
	firstClosedVNI := build(ethernet{typeIPv4}, ipv4{id: 6, fragment: more4}, udp{dst: vxlanPort, length: 64}, vxlan{vni: closedVNI})
	return []verdictCase{
		{name: "first fragment", frame: first4(1, wholePort), want: "redirect_pinhole"},
		{name: "first fragment over IPv6", frame: first6(1, wholePort), want: "redirect_pinhole"},
		{name: "first fragment to a closed port", frame: first4(1, closedPort), want: "pass_no_pinhole"},
		{name: "first fragment without the UDP header", frame: build(ethernet{typeIPv4}, ipv4{fragment: more4}, octets(7)), want: "pass_truncated"},
		{name: "first fragment without the VXLAN header", frame: build(ethernet{typeIPv4}, ipv4{fragment: more4},
			udp{dst: vxlanPort, length: 64}), want: "pass_truncated"},
		{name: "later fragment in order", earlier: [][]byte{first4(1, wholePort)}, frame: later4(1), want: "redirect_fragment"},
		{name: "two later fragments", earlier: [][]byte{first4(1, wholePort), later4(1)}, frame: later4(1), want: "redirect_fragment"},
		{name: "later fragment in order over IPv6", earlier: [][]byte{first6(1, wholePort)}, frame: later6(1, protoUDP), want: "redirect_fragment"},
		{name: "later fragment over IPv6 with another next header", earlier: [][]byte{first6(1, wholePort)},
			frame: later6(1, protoDestination), want: "redirect_fragment"},
		{name: "later fragment of a VNI", earlier: [][]byte{firstVNI}, frame: later4(6), want: "redirect_fragment"},
		{name: "later fragment of a closed VNI", earlier: [][]byte{firstClosedVNI}, frame: later4(6), want: "pass_fragment_unknown"},
		{name: "later fragment with a tag", earlier: [][]byte{first4(1, wholePort)}, frame: build(ethernet{typeVLAN}, tag{7, typeIPv4},
			ipv4{id: 1, fragment: offset4}, octets(16)), want: "redirect_fragment"},
		{name: "later fragment before its first", frame: later4(1), want: "pass_fragment_unknown"},
		{name: "later fragment before its first over IPv6", frame: later6(1, protoUDP), want: "pass_fragment_unknown"},
		{name: "later fragment after one that came too early", earlier: [][]byte{later4(1), first4(1, wholePort)}, frame: later4(1), want: "redirect_fragment"},
		{name: "later fragment of a closed port", earlier: [][]byte{first4(1, closedPort)}, frame: later4(1), want: "pass_fragment_unknown"},
		{name: "later fragment of another id", earlier: [][]byte{first4(1, wholePort)}, frame: later4(2), want: "pass_fragment_unknown"},
		{name: "later fragment of another source", earlier: [][]byte{first4(1, wholePort)}, frame: build(ethernet{typeIPv4},
			ipv4{src: other4, id: 1, fragment: offset4}, octets(16)), want: "pass_fragment_unknown"},
		{name: "later fragment to another destination", earlier: [][]byte{first4(1, wholePort)}, frame: build(ethernet{typeIPv4},
			ipv4{dst: other4, id: 1, fragment: offset4}, octets(16)), want: "pass_fragment_unknown"},
		{name: "later fragment of another id over IPv6", earlier: [][]byte{first6(1, wholePort)}, frame: later6(2, protoUDP), want: "pass_fragment_unknown"},
		{name: "later fragment of another source over IPv6", earlier: [][]byte{first6(1, wholePort)}, frame: build(ethernet{typeIPv6},
			ipv6{src: other6, next: protoFragment}, fragment6{next: protoUDP, offset: offset6, id: 1}), want: "pass_fragment_unknown"},
		{name: "later fragment to another destination over IPv6", earlier: [][]byte{first6(1, wholePort)}, frame: build(ethernet{typeIPv6},
			ipv6{dst: other6, next: protoFragment}, fragment6{next: protoUDP, offset: offset6, id: 1}), want: "pass_fragment_unknown"},
		{name: "later fragment of another protocol", earlier: [][]byte{first4(1, wholePort)}, frame: build(ethernet{typeIPv4},
			ipv4{proto: protoICMP, id: 1, fragment: offset4}, octets(16)), want: "pass_not_udp"},
		{name: "later fragment that comes too late", earlier: [][]byte{first4(1, wholePort)}, prepare: age, frame: later4(1), want: "pass_fragment_expired"},
		{name: "later fragment that comes too late over IPv6", earlier: [][]byte{first6(1, wholePort)}, prepare: age,
			frame: later6(1, protoUDP), want: "pass_fragment_expired"},
		{name: "later fragment after its id was used again by Linux's datagram",
			earlier: [][]byte{first4(1, wholePort), first4(1, closedPort)}, frame: later4(1), want: "pass_fragment_unknown"},
		{name: "later fragment that looks like a datagram to the open port", frame: build(ethernet{typeIPv4},
			ipv4{fragment: offset4}, udp{dst: wholePort}, octets(8)), want: "pass_fragment_unknown"},
		{name: "later fragment with extension headers after the fragment header", earlier: [][]byte{build(ethernet{typeIPv6},
			ipv6{next: protoFragment}, fragment6{next: protoDestination, offset: more6, id: 3}, extension{next: protoUDP},
			udp{dst: wholePort, length: 64}, octets(8))}, frame: later6(3, protoDestination), want: "redirect_fragment"},
	}
}

func otherCases() []verdictCase {
	return []verdictCase{
		{name: "ARP", frame: build(ethernet{typeARP}, octets(28)), want: "pass_not_ip"},
		{name: "LLDP", frame: build(ethernet{0x88cc}, octets(46)), want: "pass_not_ip"},
		{name: "802.3 with a length", frame: build(ethernet{46}, octets(46)), want: "pass_not_ip"},
		{name: "MPLS", frame: build(ethernet{0x8847}, octets(46)), want: "pass_not_ip"},
		{name: "bare Ethernet header", frame: build(ethernet{typeARP}), want: "pass_not_ip"},
		{name: "jumbo TCP", frame: build(ethernet{typeIPv4}, ipv4{proto: protoTCP}, octets(8960)), want: "pass_not_udp"},
		{name: "queue without a socket", frame: wholeDatagram4(tunnel4, wholePort), want: "pass_no_socket",
			prepare: func(tb testing.TB, h *harness) { h.dropSocket(tb) }},
		{name: "held id on a queue without a socket", frame: build(ethernet{typeVLAN}, tag{heldVLAN, typeARP}, octets(28)),
			want: "pass_no_socket", prepare: func(tb testing.TB, h *harness) { h.dropSocket(tb) }},
		{name: "later fragment whose first found no socket", want: "pass_fragment_unknown", frame: later4(5),
			prepare: func(tb testing.TB, h *harness) {
				restore := h.takeSocket(tb)
				h.run(tb, first4(5, wholePort))
				restore()
			}},
	}
}

// takeSocket empties queue 0 until restore is called.
func (h *harness) takeSocket(tb testing.TB) (restore func()) {
	require.NoError(tb, h.Sockets().Delete(uint32(0)))
	return func() { require.NoError(tb, h.Sockets().Put(uint32(0), uint32(h.socket))) }
}

// dropSocket empties queue 0 for the rest of the case.
func (h *harness) dropSocket(tb testing.TB) { tb.Cleanup(h.takeSocket(tb)) }

// cutCases end a frame of all headers at each of their boundaries and one byte
// to either side, its lengths as they were: the rest is lost.
func cutCases() []verdictCase {
	type header struct {
		name string
		size int
	}
	var cases []verdictCase
	for _, full := range []struct {
		name    string
		headers []header
		frame   []byte
	}{
		{"IPv4", []header{{"Ethernet", 14}, {"service tag", 4}, {"customer tag", 4}, {"IPv4", 20}, {"options", 12}, {"UDP", 8}, {"VXLAN", 8}},
			build(ethernet{typeService}, tag{7, typeVLAN}, tag{8, typeIPv4}, ipv4{options: octets(12)}, udp{dst: vxlanPort}, vxlan{vni: openVNI}, octets(14))},
		{"IPv6", []header{{"Ethernet", 14}, {"tag", 4}, {"IPv6", 40}, {"hop-by-hop", 8}, {"fragment", 8}, {"AH", 24}, {"UDP", 8}, {"VXLAN", 8}},
			build(ethernet{typeVLAN}, tag{8, typeIPv6}, ipv6{next: protoHopByHop}, extension{next: protoFragment}, fragment6{next: protoAH},
				extension{next: protoUDP, length: 4, more: 16}, udp{dst: vxlanPort}, vxlan{vni: openVNI6}, octets(14))},
	} {
		end := 0
		for _, hd := range full.headers {
			end += hd.size
			for _, cut := range []struct {
				name string
				at   int
			}{{"a byte before the end of", end - 1}, {"at the end of", end}, {"a byte after the end of", end + 1}} {
				if cut.at < 14 {
					continue // no interface delivers less than an Ethernet header
				}
				cases = append(cases, verdictCase{name: fmt.Sprintf("%s frame cut %s %s", full.name, cut.name, hd.name),
					frame: full.frame[:cut.at], want: "pass_truncated"})
			}
		}
		cases = append(cases,
			verdictCase{name: full.name + " frame cut before its last byte", frame: full.frame[:len(full.frame)-1], want: "pass_truncated"},
			verdictCase{name: full.name + " frame uncut", frame: full.frame, want: "redirect_vni"})
	}
	return cases
}

// shortCases are packets that end early by their own account.
func shortCases() []verdictCase {
	vx := build(udp{dst: vxlanPort}, vxlan{vni: openVNI})
	var cases []verdictCase
	for size := range len(vx) + 1 {
		want := "pass_malformed" // the UDP length says more
		switch {
		case size < 8:
			want = "pass_truncated"
		case size == len(vx):
			want = "redirect_vni"
		}
		cases = append(cases, verdictCase{name: fmt.Sprintf("IPv4 packet with %d of 16 bytes of UDP and VXLAN header", size),
			frame: build(ethernet{typeIPv4}, ipv4{}, bytesOf(vx[:size])), want: want})
	}
	return cases
}
