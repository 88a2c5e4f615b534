// SPDX-License-Identifier: Apache-2.0

// Package vfio is the mechanism that gives a pod an SR-IOV function to drive from
// user space.
package vfio

import (
	"github.com/networkservicemesh/api/internal/param"
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/cls"
	"github.com/networkservicemesh/api/pkg/api/networkservice/mechanisms/common"
)

const (
	// MECHANISM is the type of the mechanism.
	MECHANISM = "VFIO"

	// CgroupDirKey is the client's device cgroup on the host.
	CgroupDirKey = "cgroupDir"
	// IommuGroupKey is the IOMMU group of the function.
	IommuGroupKey = "iommuGroup"
	// PCIAddressKey is the PCI address of the function.
	PCIAddressKey = common.PCIAddressKey
	// DeviceTokenIDKey is the token that the function was given out under.
	DeviceTokenIDKey = common.DeviceTokenIDKey
	// VfioMajorKey and VfioMinorKey number /dev/vfio/vfio.
	VfioMajorKey = "vfioMajor"
	VfioMinorKey = "vfioMinor"
	// DeviceMajorKey and DeviceMinorKey number /dev/vfio/${iommuGroup}.
	DeviceMajorKey = "deviceMajor"
	DeviceMinorKey = "deviceMinor"
)

// Mechanism gives access to the parameters of a VFIO mechanism. Its methods may be
// called on nil.
type Mechanism struct {
	*networkservice.Mechanism
}

// New returns a VFIO mechanism for a client with that device cgroup.
func New(cgroupDir string) *networkservice.Mechanism {
	return &networkservice.Mechanism{
		Cls:        cls.LOCAL,
		Type:       MECHANISM,
		Parameters: map[string]string{CgroupDirKey: cgroupDir},
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

// GetCgroupDir returns the client's device cgroup.
func (m *Mechanism) GetCgroupDir() string { return m.params()[CgroupDirKey] }

// SetCgroupDir sets the client's device cgroup.
func (m *Mechanism) SetCgroupDir(cgroupDir string) { m.params()[CgroupDirKey] = cgroupDir }

// GetIommuGroup returns the IOMMU group.
func (m *Mechanism) GetIommuGroup() uint { return uint(m.params().Uint(IommuGroupKey, 0)) }

// SetIommuGroup sets the IOMMU group.
func (m *Mechanism) SetIommuGroup(iommuGroup uint) {
	m.params().SetUint(IommuGroupKey, uint64(iommuGroup))
}

// GetPCIAddress returns the PCI address.
func (m *Mechanism) GetPCIAddress() string { return m.params()[PCIAddressKey] }

// SetPCIAddress sets the PCI address.
func (m *Mechanism) SetPCIAddress(pciAddress string) { m.params()[PCIAddressKey] = pciAddress }

// GetDeviceTokenID returns the device's token.
func (m *Mechanism) GetDeviceTokenID() string { return m.params()[DeviceTokenIDKey] }

// SetDeviceTokenID sets the device's token.
func (m *Mechanism) SetDeviceTokenID(tokenID string) { m.params()[DeviceTokenIDKey] = tokenID }

// GetVfioMajor returns the major number of /dev/vfio/vfio.
func (m *Mechanism) GetVfioMajor() uint32 { return m.uint32(VfioMajorKey) }

// SetVfioMajor sets the major number of /dev/vfio/vfio.
func (m *Mechanism) SetVfioMajor(vfioMajor uint32) { m.setUint32(VfioMajorKey, vfioMajor) }

// GetVfioMinor returns the minor number of /dev/vfio/vfio.
func (m *Mechanism) GetVfioMinor() uint32 { return m.uint32(VfioMinorKey) }

// SetVfioMinor sets the minor number of /dev/vfio/vfio.
func (m *Mechanism) SetVfioMinor(vfioMinor uint32) { m.setUint32(VfioMinorKey, vfioMinor) }

// GetDeviceMajor returns the major number of the IOMMU group's device.
func (m *Mechanism) GetDeviceMajor() uint32 { return m.uint32(DeviceMajorKey) }

// SetDeviceMajor sets the major number of the IOMMU group's device.
func (m *Mechanism) SetDeviceMajor(deviceMajor uint32) { m.setUint32(DeviceMajorKey, deviceMajor) }

// GetDeviceMinor returns the minor number of the IOMMU group's device.
func (m *Mechanism) GetDeviceMinor() uint32 { return m.uint32(DeviceMinorKey) }

// SetDeviceMinor sets the minor number of the IOMMU group's device.
func (m *Mechanism) SetDeviceMinor(deviceMinor uint32) { m.setUint32(DeviceMinorKey, deviceMinor) }

func (m *Mechanism) uint32(key string) uint32       { return uint32(m.params().Uint(key, 32)) }
func (m *Mechanism) setUint32(key string, n uint32) { m.params().SetUint(key, uint64(n)) }

func (m *Mechanism) params() param.Set {
	if m == nil {
		return param.Set{}
	}
	return param.Of(m.Mechanism)
}
