// SPDX-License-Identifier: Apache-2.0

package vxlan_test

import (
	"testing"

	ns "github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/vxlan"
)

func tunnel(pairs ...string) *vxlan.Mechanism {
	params := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		params[pairs[i]] = pairs[i+1]
	}
	return vxlan.ToMechanism(&ns.Mechanism{Type: vxlan.MECHANISM, Parameters: params})
}

func TestTheLowerAddressGetsEvenIdentifiers(t *testing.T) {
	for _, test := range []struct {
		name string
		m    *vxlan.Mechanism
		even bool
	}{
		{"source lower", tunnel("src_ip", "10.0.0.1", "dst_ip", "10.0.0.2"), true},
		{"source higher", tunnel("src_ip", "10.0.0.2", "dst_ip", "10.0.0.1"), false},
		{"equal", tunnel("src_ip", "10.0.0.1", "dst_ip", "10.0.0.1"), true},
		{"compared as bytes, not text", tunnel("src_ip", "10.0.0.9", "dst_ip", "10.0.0.10"), true},
		{"IPv6", tunnel("src_ip", "2001:db8::2", "dst_ip", "2001:db8::1"), false},
		{"IPv4 sorts before global IPv6", tunnel("src_ip", "10.0.0.1", "dst_ip", "2001:db8::1"), true},
		{"original addresses win", tunnel("src_ip", "10.0.0.1", "dst_ip", "10.0.0.2", common.SrcOriginalIP, "10.0.0.3"), false},
		{"original destination wins", tunnel("src_ip", "10.0.0.2", "dst_ip", "10.0.0.1", common.DstOriginalIP, "10.0.0.3"), true},
		{"no source", tunnel("dst_ip", "10.0.0.2"), true},
		{"no destination", tunnel("src_ip", "10.0.0.2"), false},
	} {
		if got := test.m.EvenVNI(); got != test.even {
			t.Errorf("%s: even = %v", test.name, got)
		}
	}
}

func TestRandomIdentifiersHaveTheRightParityAndFit(t *testing.T) {
	for remainder, m := range []*vxlan.Mechanism{
		tunnel("src_ip", "10.0.0.1", "dst_ip", "10.0.0.2"),
		tunnel("src_ip", "10.0.0.2", "dst_ip", "10.0.0.1"),
	} {
		seen := make(map[uint32]bool)
		for range 1000 {
			vni, err := m.GenerateRandomVNI()
			if err != nil || vni == 0 || vni >= 1<<24 || vni%2 != uint32(remainder) {
				t.Fatalf("VNI %d, %v; want one of 24 bits, not 0, that is %d mod 2", vni, err, remainder)
			}
			seen[vni] = true
		}
		if len(seen) < 900 {
			t.Errorf("%d different identifiers of 1000", len(seen))
		}
	}
	for _, m := range []*vxlan.Mechanism{tunnel(), tunnel("src_ip", "10.0.0.1"), tunnel("dst_ip", "10.0.0.1"), nil} {
		if vni, err := m.GenerateRandomVNI(); err == nil {
			t.Errorf("VNI %d without both addresses", vni)
		}
	}
}
