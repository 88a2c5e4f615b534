// SPDX-License-Identifier: Apache-2.0

package begin

import (
	"google.golang.org/protobuf/proto"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// merge returns requested with each field that is still as the caller got it in
// returned replaced by that of stored, which events may have changed since.
func merge(returned, requested, stored *networkservice.Connection) *networkservice.Connection {
	if returned == nil || stored == nil || returned == stored {
		return requested
	}
	if proto.Equal(returned.GetMechanism(), requested.GetMechanism()) {
		requested.Mechanism = stored.GetMechanism().Clone()
	}
	if proto.Equal(returned.GetContext(), requested.GetContext()) {
		requested.Context = proto.Clone(stored.GetContext()).(*networkservice.ConnectionContext)
	}
	if proto.Equal(returned.GetPath(), requested.GetPath()) {
		requested.Path = proto.Clone(stored.GetPath()).(*networkservice.Path)
	}
	if returned.GetNetworkServiceEndpointName() == requested.GetNetworkServiceEndpointName() {
		requested.NetworkServiceEndpointName = stored.GetNetworkServiceEndpointName()
	}
	if returned.GetPayload() == requested.GetPayload() {
		requested.Payload = stored.GetPayload()
	}
	return requested
}
