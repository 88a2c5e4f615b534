// SPDX-License-Identifier: Apache-2.0

package monitor

import "github.com/networkservicemesh/api/pkg/api/networkservice"

// index finds things by the id of a segment in paths, so that an event costs as
// much as those whom it concerns, however many there are.
type index[T comparable] map[string]map[T]struct{}

func (i index[T]) add(segment string, x T) {
	if i[segment] == nil {
		i[segment] = make(map[T]struct{})
	}
	i[segment][x] = struct{}{}
}

func (i index[T]) remove(segment string, x T) {
	delete(i[segment], x)
	if len(i[segment]) == 0 {
		delete(i, segment)
	}
}

// anySegment is where selectors are filed that no id restricts.
const anySegment = ""

// selectedSegment is the id of a segment that the path of whatever the selector
// selects has, or anySegment.
func selectedSegment(selector *networkservice.MonitorScopeSelector) string {
	for _, segment := range selector.GetPathSegments() {
		if id := segment.GetId(); id != "" {
			return id
		}
	}
	return anySegment
}
