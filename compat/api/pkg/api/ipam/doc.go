// SPDX-License-Identifier: Apache-2.0

// Package ipam holds the gRPC service that hands out prefixes to the endpoints of
// one network service (vL3).
package ipam

//go:generate ../../../generate.sh
