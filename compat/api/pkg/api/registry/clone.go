// SPDX-License-Identifier: Apache-2.0

package registry

import "google.golang.org/protobuf/proto"

func clone[M proto.Message](m M) M { return proto.Clone(m).(M) }

// Clone returns a deep copy.
func (x *NetworkService) Clone() *NetworkService { return clone(x) }

// Clone returns a deep copy.
func (x *NetworkServiceEndpoint) Clone() *NetworkServiceEndpoint { return clone(x) }

// Clone returns a deep copy.
func (x *NetworkServiceResponse) Clone() *NetworkServiceResponse { return clone(x) }

// Clone returns a deep copy.
func (x *NetworkServiceEndpointResponse) Clone() *NetworkServiceEndpointResponse { return clone(x) }
