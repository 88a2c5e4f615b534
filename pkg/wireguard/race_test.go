// SPDX-License-Identifier: Apache-2.0

//go:build race

package wireguard

// With the race detector sync.Pool forgets at random.
func init() { poolsForget = true }
