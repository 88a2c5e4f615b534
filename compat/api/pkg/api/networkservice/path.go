// SPDX-License-Identifier: Apache-2.0

package networkservice

// GetCurrentPathSegment returns the segment that the path's index points at, nil
// when there is none.
func (x *Connection) GetCurrentPathSegment() *PathSegment { return x.segment(0) }

// GetPrevPathSegment returns the segment before the current one, nil when there is
// none: the element that the request came from.
func (x *Connection) GetPrevPathSegment() *PathSegment { return x.segment(-1) }

// GetNextPathSegment returns the segment after the current one, nil when there is
// none: the element that the request went to.
func (x *Connection) GetNextPathSegment() *PathSegment { return x.segment(1) }

func (x *Connection) segment(offset int64) *PathSegment {
	segments := x.GetPath().GetPathSegments()
	i := int64(x.GetPath().GetIndex()) + offset
	if i < 0 || i >= int64(len(segments)) {
		return nil
	}
	return segments[i]
}
