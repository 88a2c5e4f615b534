# SPDX-License-Identifier: Apache-2.0

# No token of the path has expired.
package nsm

import rego.v1

default valid := false

now := time.now_ns() / 1000000000

valid if {
	every segment in object.get(input, "path_segments", []) {
		[_, claims, _] := io.jwt.decode(segment.token)
		claims.exp > now
	}
}
