# SPDX-License-Identifier: Apache-2.0

# Each token of the path was made for the one who made the token after it.
package nsm

import rego.v1

default valid := false

valid if not broken

claims := [payload |
	some segment in input.path_segments
	[_, payload, _] := io.jwt.decode(segment.token)
]

# Unreadable tokens are not among the claims.
broken if {
	count(input.path_segments) > 1
	count(claims) != count(input.path_segments)
}

broken if {
	some i, payload in claims
	i > 0
	not is_for(claims[i - 1], payload.sub)
}

# RFC 7519, 4.1.3: a single audience may be a plain string.
is_for(payload, subject) if payload.aud == subject

is_for(payload, subject) if subject in payload.aud

broken if {
	some i, payload in claims
	i > 0
	not payload.sub
}
