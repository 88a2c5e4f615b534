# SPDX-License-Identifier: Apache-2.0

# The token of the segment after ours is signed by whom we called.
package nsm

import rego.v1

default valid := false

valid if {
	next := object.get(input, "index", 0) + 1
	io.jwt.verify_es256(input.path_segments[next].token, input.auth_info.certificate)
}
