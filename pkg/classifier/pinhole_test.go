// SPDX-License-Identifier: Apache-2.0

package classifier

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// newEmptyHarness is a harness with a socket and nothing open.
func newEmptyHarness(tb testing.TB) *harness {
	tb.Helper()
	h := newHarness(tb)
	for _, p := range harnessPinholes {
		require.NoError(tb, h.ClosePinhole(p))
	}
	require.NoError(tb, h.CloseVLAN(heldVLAN))
	require.NoError(tb, h.requireEmpty())
	return h
}

// requireEmpty is an error if the program could redirect anything.
func (h *harness) requireEmpty() error {
	for name, m := range map[string]*ebpf.Map{"pinholes": h.objects.Pinholes, "vnis": h.objects.Vnis, "vlans": h.objects.Vlans} {
		var key []byte
		if err := m.NextKey(nil, &key); !errors.Is(err, ebpf.ErrKeyNotExist) {
			return errors.Join(errors.New(name+" is not empty"), err)
		}
	}
	if len(h.ports) != 0 || len(h.pinholes) != 0 || len(h.vlans) != 0 {
		return errors.New("something is still counted")
	}
	return nil
}

func TestPinholesThatMakeNoSense(t *testing.T) {
	h := newEmptyHarness(t)
	for _, tc := range []struct {
		name string
		p    Pinhole
		want string
	}{
		{"port 0", Pinhole{tunnel4, 0, AnyVNI}, "port is 0"},
		{"no address", Pinhole{netip.Addr{}, 4789, AnyVNI}, "address is unspecified"},
		{"IPv4 wildcard", Pinhole{netip.IPv4Unspecified(), 4789, AnyVNI}, "address is unspecified"},
		{"IPv6 wildcard", Pinhole{netip.IPv6Unspecified(), 4789, AnyVNI}, "address is unspecified"},
		{"mapped wildcard", Pinhole{netip.MustParseAddr("::ffff:0.0.0.0"), 4789, AnyVNI}, "address is unspecified"},
		{"zone", Pinhole{netip.MustParseAddr("fe80::1%eth0"), 4789, AnyVNI}, "address has a zone"},
		{"VNI of 25 bits", Pinhole{tunnel4, 4789, 1 << 24}, "more than 24 bits"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ErrorContains(t, h.Open(tc.p), tc.want)
			require.ErrorContains(t, h.ClosePinhole(tc.p), tc.want)
			require.NoError(t, h.requireEmpty())
		})
	}
	for _, id := range []uint16{0, 4095, 4096, 65535} {
		require.ErrorContains(t, h.OpenVLAN(id), "not within 1 to 4094")
	}
	require.ErrorIs(t, h.ClosePinhole(Pinhole{tunnel4, 4789, 7}), ErrNotOpen)
	require.ErrorIs(t, h.CloseVLAN(heldVLAN), ErrNotOpen)
}

// leaves runs a frame and tells under which counter it left.
func (h *harness) leaves(tb testing.TB, frame []byte) string {
	tb.Helper()
	_, moved := h.run(tb, frame)
	require.Len(tb, moved, 1)
	return moved[0].Name()
}

func TestAPinholeLivesAsLongAsSomebodyNeedsIt(t *testing.T) {
	h := newEmptyHarness(t)
	p := Pinhole{tunnel4, wholePort, -7}
	mapped := Pinhole{netip.AddrFrom16(tunnel4.As16()), wholePort, AnyVNI}
	frame := wholeDatagram4(tunnel4, wholePort)
	require.Equal(t, "pass_no_pinhole", h.leaves(t, frame))
	require.NoError(t, h.Open(p))
	require.NoError(t, h.Open(mapped))
	require.Equal(t, []PinholeStatus{{Pinhole{tunnel4, wholePort, AnyVNI}, 2}}, h.Pinholes(), "they are the same")
	require.Equal(t, "redirect_pinhole", h.leaves(t, frame))
	require.NoError(t, h.ClosePinhole(p))
	require.Equal(t, "redirect_pinhole", h.leaves(t, frame))
	require.NoError(t, h.ClosePinhole(p))
	require.Equal(t, "pass_no_pinhole", h.leaves(t, frame))
	require.ErrorIs(t, h.ClosePinhole(p), ErrNotOpen)
	require.NoError(t, h.requireEmpty())
}

func TestAVLANIsHeldAsLongAsSomebodyNeedsIt(t *testing.T) {
	h := newEmptyHarness(t)
	frame := build(ethernet{typeVLAN}, tag{heldVLAN, typeARP}, octets(28))
	require.NoError(t, h.OpenVLAN(heldVLAN))
	require.NoError(t, h.OpenVLAN(heldVLAN))
	require.NoError(t, h.OpenVLAN(4094))
	require.Equal(t, []uint16{heldVLAN, 4094}, h.VLANs())
	require.NoError(t, h.CloseVLAN(heldVLAN))
	require.Equal(t, "redirect_vlan", h.leaves(t, frame))
	require.NoError(t, h.CloseVLAN(heldVLAN))
	require.Equal(t, "pass_not_ip", h.leaves(t, frame))
	require.NoError(t, h.CloseVLAN(4094))
	require.NoError(t, h.requireEmpty())
}

func TestAWholePortAndItsVNIsAreCountedApart(t *testing.T) {
	h := newEmptyHarness(t)
	whole, seven, eight := Pinhole{tunnel4, 4789, AnyVNI}, Pinhole{tunnel4, 4789, 7}, Pinhole{tunnel4, 4789, 8}
	frame := func(vni uint32) []byte { return build(ethernet{typeIPv4}, ipv4{}, udp{dst: 4789}, vxlan{vni: vni}) }
	require7 := func(seven, eight, nine string) {
		t.Helper()
		require.Equal(t, []string{seven, eight, nine},
			[]string{h.leaves(t, frame(7)), h.leaves(t, frame(8)), h.leaves(t, frame(9))})
	}
	require.NoError(t, h.Open(seven))
	require7("redirect_vni", "pass_no_vni", "pass_no_vni")
	require.NoError(t, h.Open(whole))
	require7("redirect_pinhole", "redirect_pinhole", "redirect_pinhole")
	require.NoError(t, h.Open(eight))
	require.NoError(t, h.ClosePinhole(seven))
	require7("redirect_pinhole", "redirect_pinhole", "redirect_pinhole")
	require.NoError(t, h.ClosePinhole(whole))
	require7("pass_no_vni", "redirect_vni", "pass_no_vni")
	require.NoError(t, h.Open(whole))
	require.NoError(t, h.ClosePinhole(eight))
	require7("redirect_pinhole", "redirect_pinhole", "redirect_pinhole")
	require.NoError(t, h.ClosePinhole(whole))
	require7("pass_no_pinhole", "pass_no_pinhole", "pass_no_pinhole")
	require.NoError(t, h.requireEmpty())
}

func TestPinholesAreListedInOrder(t *testing.T) {
	h := newEmptyHarness(t)
	list := []Pinhole{{tunnel4, 80, AnyVNI}, {tunnel4, 4789, AnyVNI}, {tunnel4, 4789, 0}, {tunnel4, 4789, maxVNI}, {other4, 1, AnyVNI}, {tunnel6, 1, 5}}
	for _, i := range rand.Perm(len(list)) {
		require.NoError(t, h.Open(list[i]))
	}
	var got []Pinhole
	for _, status := range h.Pinholes() {
		got = append(got, status.Pinhole)
		require.Equal(t, 1, status.References)
	}
	require.Equal(t, list, got)
	require.Equal(t, "192.0.2.1:4789 VNI 16777215", list[3].String())
	require.Equal(t, "[2001:db8::1]:1 VNI 5", list[5].String())
}

func TestTheLimitOfPinholesIsSaid(t *testing.T) {
	h := newEmptyHarness(t)
	limit := h.objects.Pinholes.MaxEntries()
	for port := range limit {
		require.NoError(t, h.Open(Pinhole{tunnel4, uint16(port + 1), AnyVNI}))
	}
	one := Pinhole{tunnel6, vxlanPort, 7}
	require.ErrorContains(t, h.Open(one), "limit of 16384 is reached")
	require.ErrorIs(t, h.objects.Vnis.NextKey(nil, new([]byte)), ebpf.ErrKeyNotExist, "the VNI is taken back")
	require.NoError(t, h.ClosePinhole(Pinhole{tunnel4, 1, AnyVNI}))
	require.NoError(t, h.Open(one))
	require.NoError(t, h.ClosePinhole(one))
}

func TestPinholesOpenedAndClosedByMany(t *testing.T) {
	h := newEmptyHarness(t)
	const workers, rounds = 8, 300
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for worker := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range rounds {
				p := Pinhole{tunnel4, uint16(1 + random.IntN(2)), int32(random.IntN(4)) - 1}
				id := uint16(1 + random.IntN(3))
				if err := errors.Join(h.Open(p), h.OpenVLAN(id), h.ClosePinhole(p), h.CloseVLAN(id)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	require.NoError(t, h.requireEmpty())
}
