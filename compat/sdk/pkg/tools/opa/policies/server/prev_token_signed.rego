# SPDX-License-Identifier: Apache-2.0

# The token of the segment before ours is signed by whoever is calling.
package nsm

import rego.v1

default valid := false

valid if {
	previous := object.get(input, "index", 0) - 1
	previous >= 0
	io.jwt.verify_es256(input.path_segments[previous].token, input.auth_info.certificate)
}
