# SPDX-License-Identifier: Apache-2.0

# The token of the segment after ours is signed by whom we called.
package nsm

import rego.v1

default valid := false

# JSON leaves an index of 0 out.
default index := 0

index := input.index

valid if io.jwt.verify_es256(input.path_segments[index + 1].token, input.auth_info.certificate)
