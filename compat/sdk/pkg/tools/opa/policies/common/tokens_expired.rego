# SPDX-License-Identifier: Apache-2.0

# No token of the path has expired.
package nsm

import rego.v1

default valid := false

valid if not expired

expired if {
	some segment in input.path_segments
	not alive(segment.token)
}

alive(token) if {
	[_, claims, _] := io.jwt.decode(token)
	claims.exp * 1000000000 > time.now_ns()
}

expired if {
	some segment in input.path_segments
	not segment.token
}
