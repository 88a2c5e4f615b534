// SPDX-License-Identifier: Apache-2.0

package networkservice

// ServiceNames appends to existingServiceNames the full gRPC names of those
// services of this package that impl serves or is a client of.
func ServiceNames(impl interface{}, existingServiceNames ...string) []string {
	names := existingServiceNames
	if _, ok := impl.(NetworkServiceServer); ok {
		names = append(names, _NetworkService_serviceDesc.ServiceName)
	}
	if _, ok := impl.(NetworkServiceClient); ok {
		names = append(names, _NetworkService_serviceDesc.ServiceName)
	}
	if _, ok := impl.(MonitorConnectionServer); ok {
		names = append(names, _MonitorConnection_serviceDesc.ServiceName)
	}
	if _, ok := impl.(MonitorConnectionClient); ok {
		names = append(names, _MonitorConnection_serviceDesc.ServiceName)
	}
	return names
}
