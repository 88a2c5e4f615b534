// SPDX-License-Identifier: Apache-2.0

package networkservice

import "slices"

// GetRequestConnection returns the connection that is asked for.
func (x *NetworkServiceRequest) GetRequestConnection() *Connection {
	return x.GetConnection()
}

// GetRequestMechanismPreferences returns the preferences, best first. The slice is
// the caller's and never nil; the mechanisms in it are those of the request.
func (x *NetworkServiceRequest) GetRequestMechanismPreferences() []*Mechanism {
	return append([]*Mechanism{}, slices.Clip(x.GetMechanismPreferences())...)
}
