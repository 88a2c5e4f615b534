// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

const vniBits = 24

// VNI returns the network identifier, 0 when it is unset or exceeds 24 bits.
func (m *Mechanism) VNI() uint32 { return uint32(m.params().Uint(VNI, vniBits)) }

// SetVNI sets the network identifier and returns m.
func (m *Mechanism) SetVNI(vni uint32) *Mechanism {
	m.params().SetUint(VNI, uint64(vni))
	return m
}

// EvenVNI tells whether the endpoint's side picks even identifiers. Between two
// nodes connections are made from either end, each end choosing identifiers for
// those that reach it: one takes even and the other odd ones, so they never clash.
// The addresses compared are the ones from before any translation between domains.
func (m *Mechanism) EvenVNI() bool {
	src := m.firstIP(common.SrcOriginalIP, SrcIP)
	if src == nil {
		return true
	}
	dst := m.firstIP(common.DstOriginalIP, DstIP)
	if dst == nil {
		return false
	}
	return bytes.Compare(src.To16(), dst.To16()) <= 0
}

// GenerateRandomVNI returns a random identifier, never 0, even or odd as EvenVNI
// says. It is an error when one of the tunnel addresses is not known.
func (m *Mechanism) GenerateRandomVNI() (uint32, error) {
	if m.SrcIP() == nil || m.DstIP() == nil {
		return 0, fmt.Errorf("generate VNI: need both tunnel addresses, have src_ip %v and dst_ip %v", m.SrcIP(), m.DstIP())
	}
	if m.EvenVNI() {
		return 2 * (1 + rand.Uint32N(1<<(vniBits-1)-1)), nil
	}
	return 2*rand.Uint32N(1<<(vniBits-1)) + 1, nil
}

// firstIP reads the first of the keys that is set, whether it parses or not.
func (m *Mechanism) firstIP(keys ...string) net.IP {
	params := m.params()
	for _, key := range keys {
		if _, set := params[key]; set {
			return params.IP(key)
		}
	}
	return nil
}
