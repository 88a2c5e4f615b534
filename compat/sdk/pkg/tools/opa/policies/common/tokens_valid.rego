# SPDX-License-Identifier: Apache-2.0

# Each token of the path is a well-formed JWT.
package nsm

import rego.v1

default valid := false

valid if {
	every segment in object.get(input, "path_segments", []) {
		io.jwt.decode(segment.token)
	}
}
