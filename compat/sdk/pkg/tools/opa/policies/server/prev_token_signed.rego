# SPDX-License-Identifier: Apache-2.0

# The token of the segment before ours is signed by whoever is calling.
package nsm

import rego.v1

default valid := false

valid if io.jwt.verify_es256(input.path_segments[input.index - 1].token, input.auth_info.certificate)
