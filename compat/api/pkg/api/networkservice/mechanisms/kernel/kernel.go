// SPDX-License-Identifier: Apache-2.0

// Package kernel is the mechanism that gives a pod a Linux network interface.
package kernel

import (
	"github.com/networkservicemesh/api/internal/param"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "KERNEL"

	// LinuxIfMaxLength is how many bytes an interface name may have: IFNAMSIZ less
	// the terminating zero.
	LinuxIfMaxLength = 15

	// PCIAddressKey is the PCI address of the function that becomes the interface.
	PCIAddressKey = common.PCIAddressKey
	// DeviceTokenIDKey is the token that this function was given out under.
	DeviceTokenIDKey = common.DeviceTokenIDKey
	// NetNSInodeKey is the inode number of the pod's network namespace.
	NetNSInodeKey = common.NetNSInodeKey
	// InterfaceNameKey is the name of the interface.
	InterfaceNameKey = common.InterfaceNameKey
	// NetNSURL is the pod's network namespace, file:///proc/${pid}/ns/net within a
	// process, inode://${dev}/${ino} between processes.
	NetNSURL = common.InodeURL
	// NetNSURLScheme is the scheme of a NetNSURL that can be opened.
	NetNSURLScheme = "file"
	// SupportsVLAN says that the forwarder can carry VLAN tags.
	SupportsVLAN = "supportsVlan"
	// VLAN is the VLAN id of the interface.
	VLAN = "vlan"
	// RouteLocalNet says that route_localnet is on for the interface.
	RouteLocalNet = "routeLocalNet"
	// IPTables4NatTemplate is a list of iptables rules, Go templates joined by ';'.
	IPTables4NatTemplate = "IPTables4NatTemplate"
)

// Mechanism gives access to the parameters of a kernel mechanism. Its methods may
// be called on nil.
type Mechanism struct {
	*networkservice.Mechanism
}

// New returns a kernel mechanism for the network namespace at netnsURL.
func New(netnsURL string) *networkservice.Mechanism {
	return &networkservice.Mechanism{
		Cls:        cls.LOCAL,
		Type:       MECHANISM,
		Parameters: map[string]string{NetNSURL: netnsURL},
	}
}

// ToMechanism wraps m, nil when it is of another type.
func ToMechanism(m *networkservice.Mechanism) *Mechanism {
	if m.GetType() != MECHANISM {
		return nil
	}
	return &Mechanism{Mechanism: m}
}

// GetParameters returns the parameters, never nil.
func (m *Mechanism) GetParameters() map[string]string { return m.params() }

// GetPCIAddress returns the PCI address of the device, "" for a virtual one.
func (m *Mechanism) GetPCIAddress() string { return m.params()[PCIAddressKey] }

// GetDeviceTokenID returns the token of the device.
func (m *Mechanism) GetDeviceTokenID() string { return m.params()[DeviceTokenIDKey] }

// SetDeviceTokenID sets the token of the device.
func (m *Mechanism) SetDeviceTokenID(tokenID string) { m.params()[DeviceTokenIDKey] = tokenID }

// GetInterfaceName returns the name that the interface has or is to get.
func (m *Mechanism) GetInterfaceName() string { return m.params()[InterfaceNameKey] }

// SetInterfaceName sets the name of the interface. It is not checked against
// LinuxIfMaxLength.
func (m *Mechanism) SetInterfaceName(interfaceName string) {
	m.params()[InterfaceNameKey] = interfaceName
}

// GetNetNSURL returns the URL of the pod's network namespace.
func (m *Mechanism) GetNetNSURL() string { return m.params()[NetNSURL] }

// SetNetNSURL sets the URL of the pod's network namespace.
func (m *Mechanism) SetNetNSURL(urlString string) { m.params()[NetNSURL] = urlString }

// SupportsVLAN tells whether the forwarder can carry VLAN tags.
func (m *Mechanism) SupportsVLAN() bool { return m.params().Bool(SupportsVLAN) }

// SetSupportsVLAN sets what SupportsVLAN returns.
func (m *Mechanism) SetSupportsVLAN(supportsVlan bool) {
	m.params().SetBool(SupportsVLAN, supportsVlan)
}

// GetVLAN returns the VLAN id, 0 when it is unset or exceeds 12 bits.
func (m *Mechanism) GetVLAN() uint32 { return uint32(m.params().Uint(VLAN, 12)) }

// SetVLAN sets the VLAN id and returns m.
func (m *Mechanism) SetVLAN(vlan uint32) *Mechanism {
	m.params().SetUint(VLAN, uint64(vlan))
	return m
}

// GetRouteLocalNet tells whether route_localnet is on for the interface.
func (m *Mechanism) GetRouteLocalNet() bool { return m.params().Bool(RouteLocalNet) }

// SetRouteLocalNet sets what GetRouteLocalNet returns, and returns m.
func (m *Mechanism) SetRouteLocalNet(routeLocalNet bool) *Mechanism {
	m.params().SetBool(RouteLocalNet, routeLocalNet)
	return m
}

func (m *Mechanism) params() param.Set {
	if m == nil {
		return param.Set{}
	}
	return param.Of(m.Mechanism)
}
