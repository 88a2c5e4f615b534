// SPDX-License-Identifier: Apache-2.0

package networkservice

import "slices"

// FilterMapOnManagerScopeSelector returns the entries of c that match the selector,
// in a map that is the caller's.
func FilterMapOnManagerScopeSelector(c map[string]*Connection, selector *MonitorScopeSelector) map[string]*Connection {
	matching := make(map[string]*Connection)
	for id, conn := range c {
		if conn.MatchesMonitorScopeSelector(selector) {
			matching[id] = conn
		}
	}
	return matching
}

// MatchesMonitorScopeSelector tells whether the selector's segments occur in the
// connection's path, one after another and without a gap, and whether the
// connection's network service is among those of the selector. A selector that
// names no segments, or no network services, does not restrict them; an empty
// name, id or token in a segment matches any.
func (x *Connection) MatchesMonitorScopeSelector(selector *MonitorScopeSelector) bool {
	if x == nil {
		return false
	}
	services := selector.GetNetworkServices()
	if len(services) > 0 && !slices.Contains(services, x.GetNetworkService()) {
		return false
	}
	wanted := selector.GetPathSegments()
	path := x.GetPath().GetPathSegments()
	if len(wanted) == 0 {
		return true
	}
	for ; len(path) >= len(wanted); path = path[1:] {
		if slices.EqualFunc(wanted, path[:len(wanted)], selects) {
			return true
		}
	}
	return false
}

func selects(wanted, segment *PathSegment) bool {
	return wildcard(wanted.GetName(), segment.GetName()) &&
		wildcard(wanted.GetId(), segment.GetId()) &&
		wildcard(wanted.GetToken(), segment.GetToken())
}

func wildcard(wanted, value string) bool { return wanted == "" || wanted == value }
