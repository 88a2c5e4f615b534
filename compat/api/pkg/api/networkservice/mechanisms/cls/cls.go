// SPDX-License-Identifier: Apache-2.0

// Package cls names the classes of mechanisms.
package cls

const (
	// LOCAL mechanisms join a pod to the forwarder of its own node.
	LOCAL = "LOCAL"
	// REMOTE mechanisms join two forwarders.
	REMOTE = "REMOTE"
)
