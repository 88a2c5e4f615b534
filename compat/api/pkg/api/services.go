// SPDX-License-Identifier: Apache-2.0

// Package api is what the Network Service Mesh API packages have in common.
package api

import (
	"github.com/networkservicemesh/api/pkg/api/networkservice"
	"github.com/networkservicemesh/api/pkg/api/registry"
)

// ServiceNames appends to existingServiceNames the full gRPC service name of every
// service of this API that impl serves or is a client of. They are the names that
// the gRPC health service answers for.
func ServiceNames(impl interface{}, existingServiceNames ...string) []string {
	return registry.ServiceNames(impl, networkservice.ServiceNames(impl, existingServiceNames...)...)
}
