// SPDX-License-Identifier: Apache-2.0

package registry

// ServiceNames appends to existingServiceNames the full gRPC names of those
// services of this package that impl serves or is a client of.
func ServiceNames(impl interface{}, existingServiceNames ...string) []string {
	names := existingServiceNames
	if _, ok := impl.(NetworkServiceRegistryServer); ok {
		names = append(names, _NetworkServiceRegistry_serviceDesc.ServiceName)
	}
	if _, ok := impl.(NetworkServiceRegistryClient); ok {
		names = append(names, _NetworkServiceRegistry_serviceDesc.ServiceName)
	}
	if _, ok := impl.(NetworkServiceEndpointRegistryServer); ok {
		names = append(names, _NetworkServiceEndpointRegistry_serviceDesc.ServiceName)
	}
	if _, ok := impl.(NetworkServiceEndpointRegistryClient); ok {
		names = append(names, _NetworkServiceEndpointRegistry_serviceDesc.ServiceName)
	}
	return names
}
