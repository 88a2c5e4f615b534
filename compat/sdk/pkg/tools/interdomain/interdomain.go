// SPDX-License-Identifier: Apache-2.0

// Package interdomain reads names of the form target@domain, which name a
// network service or an endpoint of another NSM domain.
package interdomain

import "strings"

const separator = "@"

// Is says whether s names something in another domain.
func Is(s string) bool {
	return strings.Contains(s, separator)
}

// Not says whether s names something in this domain.
func Not(s string) bool {
	return !Is(s)
}

// Join puts the separator between the parts: target, then domain.
func Join(s ...string) string {
	return strings.Join(s, separator)
}

// Domain returns what stands after the first separator, or "".
func Domain(s string) string {
	_, domain, _ := strings.Cut(s, separator)
	return domain
}

// Target returns what stands before the first separator: the whole name, if
// it has none.
func Target(s string) string {
	target, _, _ := strings.Cut(s, separator)
	return target
}
