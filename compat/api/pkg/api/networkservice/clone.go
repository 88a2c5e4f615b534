// SPDX-License-Identifier: Apache-2.0

package networkservice

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func clone[M proto.Message](m M) M { return proto.Clone(m).(M) }

// Clone returns a deep copy.
func (x *NetworkServiceRequest) Clone() *NetworkServiceRequest { return clone(x) }

// Clone returns a deep copy.
func (x *Connection) Clone() *Connection { return clone(x) }

// Clone returns a deep copy.
func (x *ConnectionEvent) Clone() *ConnectionEvent { return clone(x) }

// Clone returns a deep copy.
func (x *Mechanism) Clone() *Mechanism { return clone(x) }

// Clone returns a deep copy.
func (x *Path) Clone() *Path { return clone(x) }

// Clone returns a deep copy.
func (x *PathSegment) Clone() *PathSegment { return clone(x) }

// Clone returns a deep copy.
func (r *Route) Clone() *Route { return clone(r) }

// Equals tells whether connection is a Connection with the same contents.
func (x *Connection) Equals(connection protoreflect.ProtoMessage) bool {
	return proto.Equal(x, connection)
}

// Equals tells whether mechanism is a Mechanism with the same contents.
func (x *Mechanism) Equals(mechanism protoreflect.ProtoMessage) bool {
	return proto.Equal(x, mechanism)
}

// Equal tells whether p is a PathSegment with the same contents.
func (x *PathSegment) Equal(p protoreflect.ProtoMessage) bool {
	return proto.Equal(x, p)
}
