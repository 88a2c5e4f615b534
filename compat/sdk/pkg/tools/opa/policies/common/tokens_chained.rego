# SPDX-License-Identifier: Apache-2.0

# Each token of the path was made for the one who made the token after it.
package nsm

import rego.v1

default valid := false

claims := [payload |
	some segment in object.get(input, "path_segments", [])
	[_, payload, _] := io.jwt.decode(segment.token)
]

valid if {
	count(claims) == count(object.get(input, "path_segments", []))
	every i in numbers.range(1, count(claims) - 1) {
		audience(claims[i - 1])[claims[i].sub]
	}
}

valid if count(object.get(input, "path_segments", [])) < 2

# RFC 7519, 4.1.3: a single audience may be a plain string.
audience(payload) := {payload.aud} if is_string(payload.aud)

audience(payload) := {id | some id in payload.aud} if is_array(payload.aud)
