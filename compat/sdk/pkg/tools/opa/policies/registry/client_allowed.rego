# SPDX-License-Identifier: Apache-2.0

# A resource may be changed only by the one who registered it first.
package nsm

import rego.v1

default valid := false

valid if not input.resource_path_ids_map[input.resource_name]

valid if input.resource_path_ids_map[input.resource_name][0] == input.resource_id
