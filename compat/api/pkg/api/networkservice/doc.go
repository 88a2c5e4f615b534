// SPDX-License-Identifier: Apache-2.0

// Package networkservice holds the messages and gRPC services by which clients
// ask for network services and watch the connections they got.
//
// The three protos of this folder live in three proto packages (connection,
// connectioncontext, networkservice), so the wire names differ from the Go ones.
package networkservice

//go:generate ../../../generate.sh

// Messages of errors about a DNSConfig.
const (
	DNSConfigShouldNotBeNil       = "dnsConfig should not be nil"
	DNSServerIpsShouldHaveRecords = "dnsConfig should have records"
)
