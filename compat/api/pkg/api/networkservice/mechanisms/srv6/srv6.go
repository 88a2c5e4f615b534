// SPDX-License-Identifier: Apache-2.0

// Package srv6 is the mechanism that carries packets between nodes by segment
// routing over IPv6.
package srv6

import (
	"net"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "SRV6"

	// SrcHostIP and DstHostIP are the nodes' addresses.
	SrcHostIP = "src_host_ip"
	DstHostIP = "dst_host_ip"
	// SrcBSID and DstBSID are the binding segment ids.
	SrcBSID = "src_bsid"
	DstBSID = "dst_bsid"
	// SrcLocalSID and DstLocalSID are the connection's local segment ids.
	SrcLocalSID = "src_localsid"
	DstLocalSID = "dst_localsid"
	// SrcHostLocalSID and DstHostLocalSID are the nodes' local segment ids.
	SrcHostLocalSID = "src_host_localsid"
	DstHostLocalSID = "dst_host_localsid"
	// SrcHardwareAddress and DstHardwareAddress are the nodes' MAC addresses.
	SrcHardwareAddress = "src_hw_addr"
	DstHardwareAddress = "dst_hw_addr"
)

// Mechanism gives access to the parameters of an SRv6 mechanism. Addresses and
// segment ids that do not parse as an IP address are "".
type Mechanism interface {
	SrcHostIP() string
	DstHostIP() string
	SrcBSID() string
	DstBSID() string
	SrcLocalSID() string
	DstLocalSID() string
	SrcHostLocalSID() string
	DstHostLocalSID() string
	SrcHardwareAddress() string
	DstHardwareAddress() string
}

// ToMechanism wraps m, nil when it is of another type.
func ToMechanism(m *networkservice.Mechanism) Mechanism {
	if m.GetType() != MECHANISM {
		return nil
	}
	return reader{parameters: m.GetParameters()}
}

type reader struct{ parameters map[string]string }

func (r reader) SrcHostIP() string          { return r.address(SrcHostIP) }
func (r reader) DstHostIP() string          { return r.address(DstHostIP) }
func (r reader) SrcBSID() string            { return r.address(SrcBSID) }
func (r reader) DstBSID() string            { return r.address(DstBSID) }
func (r reader) SrcLocalSID() string        { return r.address(SrcLocalSID) }
func (r reader) DstLocalSID() string        { return r.address(DstLocalSID) }
func (r reader) SrcHostLocalSID() string    { return r.address(SrcHostLocalSID) }
func (r reader) DstHostLocalSID() string    { return r.address(DstHostLocalSID) }
func (r reader) SrcHardwareAddress() string { return r.parameters[SrcHardwareAddress] }
func (r reader) DstHardwareAddress() string { return r.parameters[DstHardwareAddress] }

func (r reader) address(key string) string {
	if net.ParseIP(r.parameters[key]) == nil {
		return ""
	}
	return r.parameters[key]
}
