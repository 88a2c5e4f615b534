# SPDX-License-Identifier: Apache-2.0

# A service may watch a path in which it owns a connection.
package nsm

import rego.v1

default valid := false

valid if {
	some id in input.spiffe_id_connection_map[input.service_spiffe_id]
	id in input.selector_connection_ids
}
