// SPDX-License-Identifier: Apache-2.0

// Package updatepath enters a hop into the path of a connection, and gives the
// connection the id that it has at this hop.
package updatepath

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/networkservicemesh/api/pkg/api/networkservice"
)

// enter moves conn to the segment of name and returns the index at which its
// caller had it. The server half and the client half of a hop share one
// segment. A segment of another name at our place is that of a hop that we have
// replaced: it becomes ours, under a fresh id.
func enter(conn *networkservice.Connection, name string) (callerIndex uint32, err error) {
	path := conn.GetPath()
	if path == nil || len(path.GetPathSegments()) == 0 {
		if conn.GetId() == "" {
			conn.Id = uuid.NewString()
		}
		conn.Path = &networkservice.Path{
			PathSegments: []*networkservice.PathSegment{{Name: name, Id: conn.GetId()}},
		}
		return 0, nil
	}
	if int(path.GetIndex()) >= len(path.GetPathSegments()) {
		return 0, fmt.Errorf("update path: index %d is past the end of a path of %d segments",
			path.GetIndex(), len(path.GetPathSegments()))
	}
	current := path.GetPathSegments()[path.GetIndex()]
	if current.GetName() == name {
		conn.Id = current.GetId()
		return path.GetIndex(), nil
	}
	if conn.GetId() != current.GetId() {
		return 0, fmt.Errorf("update path: connection id %q is not %q, the id of segment %d (%s)",
			conn.GetId(), current.GetId(), path.GetIndex(), current.GetName())
	}
	callerIndex = path.GetIndex()
	path.Index++
	switch own := int(path.GetIndex()); {
	case own == len(path.GetPathSegments()):
		path.PathSegments = append(path.GetPathSegments(), &networkservice.PathSegment{Name: name, Id: uuid.NewString()})
	case path.GetPathSegments()[own].GetName() != name:
		path.PathSegments[own].Name = name
		path.PathSegments[own].Id = uuid.NewString()
	}
	conn.Id = path.GetPathSegments()[path.GetIndex()].GetId()
	return callerIndex, nil
}

// leave gives conn the index and id that the caller knows it by.
func leave(conn *networkservice.Connection, callerIndex uint32) {
	if conn.GetPath() == nil || int(callerIndex) >= len(conn.GetPath().GetPathSegments()) {
		return
	}
	conn.Path.Index = callerIndex
	conn.Id = conn.GetPath().GetPathSegments()[callerIndex].GetId()
}
