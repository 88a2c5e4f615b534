// SPDX-License-Identifier: Apache-2.0

// Package sriov names the connection labels that choose an SR-IOV device.
package sriov

const (
	// SriovTokenLabel holds the token id of the device that the client was given.
	SriovTokenLabel = "sriovToken"
	// ServiceDomainLabel holds the service domain of that device.
	ServiceDomainLabel = "serviceDomain"
)
