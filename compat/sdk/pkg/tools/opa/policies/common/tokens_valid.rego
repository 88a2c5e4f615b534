# SPDX-License-Identifier: Apache-2.0

# Each token of the path is a well-formed JWT.
package nsm

import rego.v1

default valid := false

valid if not malformed

malformed if {
	some segment in input.path_segments
	not io.jwt.decode(segment.token)
}

# A segment without a token has no field for it at all.
malformed if {
	some segment in input.path_segments
	not segment.token
}
