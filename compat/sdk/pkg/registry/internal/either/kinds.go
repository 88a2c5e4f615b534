// SPDX-License-Identifier: Apache-2.0

package either

import "github.com/networkservicemesh/api/pkg/api/registry"

// Short names for the types of each registry: NS for network services, NSE for
// endpoints.
type (
	NS        = *registry.NetworkService
	NSQuery   = *registry.NetworkServiceQuery
	NSRecv    = registry.NetworkServiceRegistry_FindClient
	NSSend    = registry.NetworkServiceRegistry_FindServer
	NSAnswer  = *registry.NetworkServiceResponse
	NSE       = *registry.NetworkServiceEndpoint
	NSEQuery  = *registry.NetworkServiceEndpointQuery
	NSERecv   = registry.NetworkServiceEndpointRegistry_FindClient
	NSESend   = registry.NetworkServiceEndpointRegistry_FindServer
	NSEAnswer = *registry.NetworkServiceEndpointResponse
)

// Elements that hand every call on, to be embedded in elements of one kind.
type (
	PassNSClient  = PassClient[NS, NSQuery, NSRecv]
	PassNSServer  = PassServer[NS, NSQuery, NSSend]
	PassNSEClient = PassClient[NSE, NSEQuery, NSERecv]
	PassNSEServer = PassServer[NSE, NSEQuery, NSESend]
)
